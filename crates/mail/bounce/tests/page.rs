//! The page `docs/bounces.md` has the table of classes as the code has it.

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/bounces.md");
const BEGIN: &str = "<!-- classes:";
const END: &str = "<!-- end -->";

#[test]
fn the_table_of_classes_is_the_code_s() {
    let page = std::fs::read_to_string(PATH).unwrap_or_else(|error| panic!("{PATH}: {error}"));
    let begin = page.find(BEGIN).expect("the mark where the table begins");
    let begin = begin + page[begin..].find('\n').expect("the end of its line") + 1;
    let end = page.find(END).expect("the mark where the table ends");
    let expected = format!("{}{}{}", &page[..begin], bounce::class_table(), &page[end..]);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(PATH, &expected).unwrap_or_else(|error| panic!("{PATH}: {error}"));
    } else {
        assert!(page == expected, "run UPDATE_EXPECTED=1 cargo test -p bounce --test page");
    }
}
