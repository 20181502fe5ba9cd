//! A new generation of the configuration.

use crate::house::{House, config};

#[test]
fn a_session_keeps_the_generation_it_began_with() {
    let house = House::new("max_message_size = \"1MiB\"");
    let mut old = house.greeted();
    house.reload(config("", "max_message_size = \"2MiB\""));
    let mut new = house.client();
    assert_eq!(new.code(), 220);
    assert_eq!(new.codes("EHLO x\r\nMAIL FROM:<a@b> SIZE=2097152\r\n", 2), [250, 250]);
    assert_eq!(old.codes("MAIL FROM:<a@b> SIZE=2097152\r\n", 1), [552]);
    assert!(old.deliver("x\r\n").starts_with("250"));
}
