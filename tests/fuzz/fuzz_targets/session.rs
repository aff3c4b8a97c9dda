#![no_main]

gatelet_fuzz::target!(session);
