//! Domain containers, queues, retry and permits; pure
