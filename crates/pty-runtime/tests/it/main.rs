//! The runtime through its public doors: real sockets, real terminals, real processes.

#[cfg(test)]
mod adapters;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod callbacks;
#[cfg(test)]
mod events;
#[cfg(test)]
mod general;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod program;
#[cfg(test)]
mod security;
#[cfg(test)]
mod structured;
#[cfg(test)]
mod supervisor;
#[cfg(test)]
mod surface;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod world;
