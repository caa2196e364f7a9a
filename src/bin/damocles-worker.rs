//! `damocles-worker`: the daemon and its proof parameters.

fn main() -> std::process::ExitCode {
    damocles_worker::cli::worker_main()
}
