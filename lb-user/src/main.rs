//! The command line of mqlb.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_user::cli::main()
}
