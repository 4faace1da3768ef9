//! The least number of bytes that a socket calls readable (`SO_RCVLOWAT`). It decides nothing: `low_water` does.

use std::io;

use nix::libc;
use nix::setsockopt_impl;
use nix::sys::socket::SetSockOpt as _;
use nix::sys::socket::sockopt::SetStruct;
use tokio::net::TcpStream;

/// The option; the macro wraps the call, so that no `unsafe` stands here.
#[derive(Debug, Clone, Copy)]
struct ReceiveLowWater;

setsockopt_impl!(ReceiveLowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, i32, SetStruct<'_, i32>);

/// Sets it. The system wakes whoever waits if so many bytes are there already; it takes half of the receive buffer at most.
pub(super) fn set_low_water(socket: &TcpStream, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).map_err(io::Error::other)?;
    ReceiveLowWater.set(socket, &bytes).map_err(Into::into)
}
