//! x
/// x
pub fn plan(_: &super::Config) -> String {
    String::new()
}
