//! Transport agents: SMTP, LMTP, maildir
