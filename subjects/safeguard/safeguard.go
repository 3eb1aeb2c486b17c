//go:build !sabotage

// Package safeguard names the rules that keep sessions whole, and apart, and quick, so that
// each can be taken off in a build of its own and a fault laboratory or a benchmark shown to
// see what follows. In every
// other build the switches are constants: the compiler leaves nothing of them.
//
// With -tags sabotage they are variables, set once from the environment variable
// STENOBUS_SABOTAGE, a list of names with commas between them.
package safeguard

// What is taken off: nothing.
const (
	FenceOff      = false // fence: results are stored without expecting the one before
	EpochOff      = false // epoch: gateways obey messages of an owner or a connection that was replaced
	LifeOff       = false // life: messages and results of an old life of the id count in the new one
	HolesOff      = false // holes: workers report no missing numbers
	ResendOff     = false // resend: gateways send nothing a second time
	DuplicatesOff = false // duplicates: frames that were taken or covered already are heard again
	ScanOff       = false // scan: media events are read by the general parser, with a copy of each part
	ApartOff      = false // apart: sessions of a gateway share a lock, and hold it until the bus has what they sent
)
