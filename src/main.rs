//! The program `huidu`.

fn main() -> std::process::ExitCode {
    huidu::cli::run()
}
