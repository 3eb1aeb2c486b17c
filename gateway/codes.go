package gateway

import (
	"unicode/utf8"

	"github.com/coder/websocket"
)

// end is a way in which a client's connection ends: a value, so that logs, metrics
// and clients use the same words.
type end struct {
	code   string               // in events, logs and metrics
	status websocket.StatusCode // of the close frame
	text   string               // its reason, below 123 bytes
	retry  bool                 // a client may connect again with the same id
}

// statusSuperseded tells a client that a later connection has its session.
const statusSuperseded websocket.StatusCode = 4409

// The ways to end, a closed list.
var (
	endDone       = end{"ended", websocket.StatusNormalClosure, "session ended", false}
	endSuperseded = end{"superseded", statusSuperseded, "superseded: a later connection has this session", false}
	endForbidden  = end{"forbidden", websocket.StatusPolicyViolation, "forbidden: the session is somebody else's, or the resume token is missing or wrong", false}
	endTooFast    = end{"audio_too_fast", websocket.StatusPolicyViolation, "audio_too_fast", false}
	endSlow       = end{"slow_client", websocket.StatusPolicyViolation, "slow_client: results were not read fast enough", true}
	endBadAudio   = end{"bad_audio", websocket.StatusPolicyViolation, "bad_audio", false}
	endTooBig     = end{"message_too_big", websocket.StatusMessageTooBig, "message_too_big", false}
	endNoWorker   = end{"no_worker", websocket.StatusTryAgainLater, "no_worker", true}
	endBus        = end{"bus_down", websocket.StatusTryAgainLater, "bus_down: the message bus does not answer", true}
	endEngine     = end{"engine_failed", websocket.StatusInternalError, "engine_failed: no worker could transcribe the audio", true}
	endLate       = end{"results_late", websocket.StatusInternalError, "results_late: the last finals did not come in time", true}
	endInternal   = end{"internal", websocket.StatusInternalError, "internal", true}
	endMoving     = end{"gateway_stopping", websocket.StatusServiceRestart, "gateway_stopping: connect again", true}
	endTooLong    = end{"session_too_long", websocket.StatusGoingAway, "session_too_long", true}
	endUsedUp     = end{"sources_used_up", websocket.StatusGoingAway, "sources_used_up", true}
	endIdle       = end{"idle_timeout", websocket.StatusPolicyViolation, "idle_timeout", true}
	endProvider   = end{"unknown_provider", websocket.StatusProtocolError, "unknown_provider", false}
	endLost       = end{"session_lost", websocket.StatusInternalError, "session_lost: the session was ended on the bus", true}
)

// because adds what a reader needs to know, within what a close frame holds.
func (e end) because(text string) end {
	e.text = cut(e.text + ": " + text)
	return e
}

// cut shortens a text to what a close frame holds, between two characters.
func cut(text string) string {
	const most = 123 // bytes, RFC 6455 5.5: 125 with the status
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
