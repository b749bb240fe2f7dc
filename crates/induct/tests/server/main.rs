//! The real binary, from outside: started on a port of the system's choice in a folder of its own,
//! spoken to over TLS.
//!
//! One test program for all of it, so that it is linked once and [`harness`] is shared.

mod backup;
mod command_line;
mod first_start;
mod harness;
mod kill;
mod start_and_stop;
