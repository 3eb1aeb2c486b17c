package worker

import "time"

// What a worker does by the clock, for whoever reckons what that costs a bus.
const (
	// RecordRenewal is how often a worker has the record of each of its sessions renewed:
	// well below the expiry of a record.
	RecordRenewal = 30 * time.Second
	// ReportEvery is how often a worker reports, changes or not: a fifth of its key's expiry.
	// Each change of its load makes one more report.
	ReportEvery = 2 * time.Second
	// DefaultTurnLimit is the most audio of a source without a final or a mark.
	DefaultTurnLimit = 10 * time.Second
)
