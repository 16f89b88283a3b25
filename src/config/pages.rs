//! x
/// x
pub fn example_file() -> String {
    String::new()
}
/// x
pub fn reference() -> String {
    String::new()
}
