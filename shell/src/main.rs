//! The `tensorforge` program.

fn main() -> std::process::ExitCode {
    tensorforge::cli::main()
}
