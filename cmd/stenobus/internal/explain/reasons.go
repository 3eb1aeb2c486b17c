package explain

import "stenobus/subjects"

// words says what reasons mean. Lists of reasons are open within a major version of the
// protocol: one that is not here is shown as it is.
var words = map[string]string{
	// of an ownership
	subjects.ReasonOpen:   "a client opened the session",
	subjects.ReasonResume: "a client came back, or the record had to be written again",
	subjects.MoveGone:     "nobody answered for the worker before it: it had died or was cut off",
	subjects.MoveSilent:   "the worker before it neither answered its probe nor acknowledged: it hung or was cut off",
	subjects.MoveDraining: "the worker before it was shutting down and handed the session over",
	subjects.MoveEngine:   "the engine of the worker before it failed, again and again",
	subjects.MoveEnded:    "the life before was over already",
	// of an end
	subjects.EndClient:      "the client said that it was over, or closed its socket cleanly",
	subjects.EndGrace:       "the client's connection broke and it did not come back within its grace",
	subjects.EndGatewayLost: "no gateway spoke for the session any more, and none came within its grace",
	subjects.EndRefused:     "the gateway gave the session up: bad input, a limit, or no bus",
	subjects.EndWorker:      "the worker stopped and nobody took the session over",
	// of a frame that was refused
	subjects.RefusedWindow:      "the gateway's window was full: no worker had heard them in time",
	subjects.RefusedLost:        "the gateway that held them was gone",
	subjects.RefusedUndecodable: "the audio could not be decoded",
	subjects.RefusedEngine:      "every engine failed on them",
	subjects.RefusedTooBig:      "they were larger than a message on the bus may be",
}

// inWords explains a reason and names it, so that it can be searched for.
func inWords(reason string) string {
	if w, ok := words[reason]; ok {
		return w + " (" + reason + ")"
	}
	if reason == "" {
		return "for no reason that is known"
	}
	return shown(reason)
}
