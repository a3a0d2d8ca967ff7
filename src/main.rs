//! The `strandline` binary: hands its arguments to [`strandline::cli`].

fn main() {
    std::process::exit(strandline::cli::run(std::env::args_os()));
}
