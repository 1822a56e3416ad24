//! The role `rcond unpack` as a program of its own, for the tests of this crate.

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    std::process::exit(rcon_image::unpack_main(&args));
}
