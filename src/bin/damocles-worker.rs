//! `damocles-worker`: daemon, proof parameters, hugepage files.

fn main() -> std::process::ExitCode {
    damocles_worker::cli::worker_main()
}
