package gateway

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"stenobus/gateway/dialect"
)

const keyBytes = 16 // of Sec-WebSocket-Key, RFC 6455, 4.1

// handshake refuses requests that ask for no WebSocket, or wrongly (RFC 6455, 4.2.1). The
// library that upgrades would refuse them too, with neither code nor a dialect's form.
func handshake(r *http.Request, h http.Header) *dialect.Refusal {
	needs := func(what string, args ...any) *dialect.Refusal {
		h.Set("Upgrade", "websocket")
		return &dialect.Refusal{Status: http.StatusUpgradeRequired, Code: refusedUpgrade, Text: "Upgrade Required: " + fmt.Sprintf(what, args...)}
	}
	bad := func(what string, args ...any) *dialect.Refusal {
		return &dialect.Refusal{Status: http.StatusBadRequest, Code: refusedBadRequest, Text: fmt.Sprintf(what, args...)}
	}
	switch keys := r.Header.Values("Sec-WebSocket-Key"); {
	case !isUpgrade(r):
		return needs("Expected WebSocket connection")
	case !r.ProtoAtLeast(1, 1):
		return needs("the request is %s, WebSocket needs HTTP/1.1", r.Proto)
	case !hasToken(r.Header, "Connection", "Upgrade"):
		return needs("header Connection is %.64q, it must hold Upgrade; a proxy in front may have taken it out", r.Header.Get("Connection"))
	case r.Method != http.MethodGet:
		return bad("Invalid method: %.16s, a WebSocket is asked for with GET", r.Method)
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		h.Set("Sec-WebSocket-Version", "13")
		return needs("header Sec-WebSocket-Version is %.16q, allowed is 13", r.Header.Get("Sec-WebSocket-Version"))
	case len(keys) != 1:
		return bad("Invalid header Sec-WebSocket-Key: it is there %d times, it must be there once", len(keys))
	default:
		if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(b) != keyBytes {
			return bad("Invalid header Sec-WebSocket-Key: it must be %d bytes in base64", keyBytes)
		}
	}
	return nil
}

func isUpgrade(r *http.Request) bool { return hasToken(r.Header, "Upgrade", "websocket") }

// hasToken looks for one of the words of a header that is a list.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}
