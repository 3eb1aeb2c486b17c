// Package placesim places sessions on a fleet of workers that is not there, in compressed
// time. The fleet, the bus and the clients are simulated; who gets a session is decided by
// dispatcher/placement, the code that every dispatcher runs.
//
// Each dispatcher has a view of its own, fed by reports that are seconds old. The truth is
// in the workers, which refuse what they have no slot for. One goroutine runs one
// simulation, and everything in it but CPU times follows from the seed.
package placesim
