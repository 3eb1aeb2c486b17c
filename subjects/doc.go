// Package subjects is the contract of Stenobus on the bus: the names of subjects,
// streams and buckets, the messages that travel on them, and the one function that
// makes a server ready for them. PROTOCOL.md beside it says the same for workers
// in other languages. It starts no goroutine and reads no clock.
//
// Three numbers keep time apart, together a [Stamp]. A life is one existence of a
// session id: ids are reused, and a message of an old life never counts in a new
// one. An epoch is one ownership by a worker within a life. An attach is one
// connection by a client. All only rise, by compare-and-set on the session's
// record; every message carries them and nothing obeys a lower one.
package subjects
