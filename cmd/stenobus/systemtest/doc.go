// Package systemtest holds the tests that need all roles at once: a real NATS
// server, real WebSockets, and gateways, dispatchers and workers in one process.
package systemtest
