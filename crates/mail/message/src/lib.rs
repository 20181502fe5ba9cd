//! What a message is: address, id, envelope, body, and the records that rooms hand over
