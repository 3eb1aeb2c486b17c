package gateway

import (
	"fmt"
	"net/http"
	"strings"
)

// Code is one reason for which a gateway refuses a client or ends its connection. All
// dialects share the list, which is closed within a major version.
type Code struct {
	Name    string
	Answer  string // HTTP status before the upgrade, or status of the close frame
	Retry   string // whether a client should connect again, and how
	Meaning string
}

// Codes lists every reason, in the order of the answers.
func Codes() []Code {
	const (
		no    = "no"
		other = "yes, at another gateway or later"
		same  = "yes, same session id"
		fresh = "yes, with another session"
	)
	answered := func(code string, status int, retry, meaning string) Code {
		return Code{code, fmt.Sprintf("HTTP %d", status), retry, meaning}
	}
	closed := func(e end, retry, meaning string) Code {
		return Code{e.code, fmt.Sprintf("close %d", e.status), retry, meaning}
	}
	return []Code{
		answered(refusedBadRequest, http.StatusBadRequest, no, "a parameter or a header is wrong; the text names it and what is allowed. 414 if the query is too long"),
		answered(refusedUnauthorized, http.StatusUnauthorized, no, "no key or token was shown, or not one that is valid here"),
		answered(refusedForbidden, http.StatusForbidden, no, "the key, token or resume token does not allow this session or provider"),
		answered(refusedNotFound, http.StatusNotFound, no, "nothing is at this path"),
		answered(refusedUpgrade, http.StatusUpgradeRequired, no, "the path speaks WebSocket only: version 13, by HTTP/1.1"),
		answered(refusedRate, http.StatusTooManyRequests, "yes, after Retry-After", "this address connects too often (`--connect-rate`)"),
		answered(refusedQuota, http.StatusTooManyRequests, "yes, after Retry-After", "this client has as many sessions as it may (`--max-principal-sessions`)"),
		answered(refusedFull, http.StatusServiceUnavailable, other, "the gateway has as many sessions as it may (`--max-sessions`)"),
		answered(refusedNotReady, http.StatusServiceUnavailable, other, "the gateway starts or stops, or can't check keys now"),
		closed(endDone, "no need", "the session has ended and every final was sent"),
		closed(endTooLong, fresh, "the session went on for `--max-length`"),
		closed(endProvider, no, "`/transcribe`: the provider is no engine of this gateway; the text is that protocol's"),
		closed(endUsedUp, fresh, "the session has had `--max-life-sources` sources"),
		closed(endForbidden, no, "the session is somebody else's, or the resume token is wrong"),
		closed(endTooFast, no, "audio ran so far ahead of real time that `--window` is full"),
		closed(endBadAudio, no, "the audio is in no format that this protocol takes here"),
		closed(endSlow, same, "results were not read fast enough (`--send-buffer`); the finals are kept"),
		closed(endIdle, same, "no message came for `--idle-timeout`"),
		closed(endTooBig, no, "a message above `--max-message`"),
		closed(endEngine, same, "no worker could transcribe the audio"),
		closed(endLate, same, "the last finals did not come within `--end-wait`"),
		closed(endLost, same, "the session was ended on the bus"),
		closed(endInternal, same, "a fault of the gateway's own"),
		closed(endMoving, same, "the gateway stops; what was spoken has been delivered"),
		closed(endNoWorker, same, "no worker had room within `--claim-wait`"),
		closed(endBus, same, "the bus is away and the window is full; what was accepted is kept"),
		closed(endSuperseded, no, "a later connection has this session"),
	}
}

// CodesTable is the list in Markdown.
func CodesTable() string {
	var b strings.Builder
	b.WriteString("| code | answer | connect again? | meaning |\n|---|---|---|---|\n")
	for _, c := range Codes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Name, c.Answer, c.Retry, c.Meaning)
	}
	return b.String()
}
