package subjects

import (
	"fmt"
	"strings"
)

// Subjects that do not name a session or a worker.
const (
	Claim      = "transcribe.claim"       // request: attach or move a session
	ClaimRenew = "transcribe.claim.renew" // request: keep a session's record from expiring
	ClaimEnd   = "transcribe.claim.end"   // request: delete a session's record after its end
	ClaimCheck = "transcribe.claim.check" // request: would this claim have the right to its session?
	ClaimQueue = "dispatchers"            // queue group of every dispatcher, on the four above

	AllFrames  = "transcribe.session.*" // for onlookers and the audio log, never for a queue group: it would split sessions
	AllInboxes = "transcribe.inbox.*.*" // for onlookers
	AllResults = "transcribe.result.*"  // what the results stream stores, where it is not split
)

// Streams and buckets.
const (
	ResultsStream  = "TRANSCRIBE_RESULTS" // the first of several where the results log is split
	AudioStream    = "TRANSCRIBE_AUDIO"   // the audio log, only where gateways keep one
	SessionsBucket = "transcribe_sessions"
	WorkersBucket  = "transcribe_workers"
)

const (
	framesPrefix = "transcribe.session."
	inboxPrefix  = "transcribe.inbox."
	resultPrefix = "transcribe.result."
	workerPrefix = "transcribe.worker."
	directPrefix = "transcribe.dispatcher."
)

// Channel is the last token of an inbox subject: what kind of message it carries.
type Channel string

// The channels of a session's inbox. The results stream itself writes to
// ChannelResult, the session's worker to all others.
const (
	ChannelReady   Channel = "ready"
	ChannelAck     Channel = "ack"
	ChannelNak     Channel = "nak"
	ChannelInterim Channel = "interim"
	ChannelRelease Channel = "release"
	ChannelResult  Channel = "result"
)

func (c Channel) valid() bool {
	switch c {
	case ChannelReady, ChannelAck, ChannelNak, ChannelInterim, ChannelRelease, ChannelResult:
		return true
	}
	return false
}

// Frames is where a session's gateway publishes frames and session control.
func Frames(id SessionID) string { return framesPrefix + id.Token() }

// ParseFrames is the exact inverse of Frames.
func ParseFrames(subject string) (SessionID, error) {
	return parseSession(subject, framesPrefix)
}

// Result is where a session's worker publishes what the results stream stores, on a bus
// whose results log is not split. Results.Subject knows every bus.
func Result(id SessionID) string { return resultPrefix + id.Token() }

// Inbox is where a session's gateway hears one kind of message.
func Inbox(id SessionID, c Channel) string {
	return inboxPrefix + id.Token() + "." + string(c)
}

// InboxAll matches every channel of one session's inbox.
func InboxAll(id SessionID) string { return inboxPrefix + id.Token() + ".*" }

// ParseInbox is the exact inverse of Inbox.
func ParseInbox(subject string) (SessionID, Channel, error) {
	rest, ok := strings.CutPrefix(subject, inboxPrefix)
	if !ok {
		return "", "", fmt.Errorf("%w: %q does not begin with %q", ErrSubject, subject, inboxPrefix)
	}
	token, channel, ok := strings.Cut(rest, ".")
	if !ok || !Channel(channel).valid() {
		return "", "", fmt.Errorf("%w: %q names no inbox channel", ErrSubject, subject)
	}
	id, err := ParseSessionToken(token)
	return id, Channel(channel), err
}

// Worker is where a worker answers requests: assign, release, drain.
func Worker(id WorkerID) string { return workerPrefix + id.Token() }

// ParseWorker is the exact inverse of Worker.
func ParseWorker(subject string) (WorkerID, error) {
	token, ok := strings.CutPrefix(subject, workerPrefix)
	if !ok {
		return "", fmt.Errorf("%w: %q does not begin with %q", ErrSubject, subject, workerPrefix)
	}
	return ParseWorkerToken(token)
}

// Directly is where one dispatcher answers what its queue group answers on a claim
// subject. The service is its id as a NATS micro service, which is one token.
func Directly(claim, service string) string {
	_, op, ok := strings.Cut(claim, Claim+".")
	if !ok {
		op = "claim"
	}
	return directPrefix + service + "." + op
}

// SessionRecord is the subject behind a session's key in the sessions bucket. A
// record is renewed by publishing there, because an update through the key-value
// interface drops the key's expiry.
func SessionRecord(id SessionID) string {
	return "$KV." + SessionsBucket + "." + id.Token()
}

func parseSession(subject, prefix string) (SessionID, error) {
	token, ok := strings.CutPrefix(subject, prefix)
	if !ok {
		return "", fmt.Errorf("%w: %q does not begin with %q", ErrSubject, subject, prefix)
	}
	return ParseSessionToken(token)
}
