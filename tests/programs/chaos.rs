//! x
fn main() {
    let _ = shiftwork_tests::all();
}
