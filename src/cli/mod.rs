//! The command line.

/// Runs the command that `args` (program name first) ask for and returns the exit code.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> i32 {
    let _ = args;
    eprintln!("strandline: no command is built yet");
    2
}
