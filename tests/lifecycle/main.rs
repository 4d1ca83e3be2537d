//! Lifecycle tests: startup, failure and shutdown of real worker code, each as a scripted world.

mod smoke;
