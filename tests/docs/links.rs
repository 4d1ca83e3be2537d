//! Every link of a page to another file of the repository leads somewhere, its anchor too.

use crate::page::Page;

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in Page::all() {
        for (line, target) in page.links().filter(|(_, target)| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if !file.is_empty() && !page.folder().join(file).exists() {
                broken.push(format!("{}:{line}: {target} does not exist", page.path));
                continue;
            }
            let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let linked = match (file, folder) {
                ("", _) => Page::read(&page.path),
                (_, _) if anchor.is_empty() => continue,
                (_, "") => Page::read(file),
                (_, folder) => Page::read(&format!("{folder}/{file}")),
            };
            let found = (1..=6).any(|level| linked.headings(level).any(|heading| anchor_of(heading) == anchor));
            if !found {
                broken.push(format!("{}:{line}: {target} has no such heading", page.path));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// The anchor that a heading gets where pages are shown.
fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
