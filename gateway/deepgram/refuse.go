package deepgram

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"stenobus/gateway/dialect"
)

// Headers of an answer to an upgrade request.
const (
	headerRequest = "dg-request-id" // of a connection: the session's id
	headerError   = "dg-error"
	headerWarning = "dg-warning" // the protocol has none: what was asked for and counts for nothing
)

const maxHeader = 1 << 10 // bytes of a header's text

// failure is the body of a refusal.
type failure struct {
	Code    string `json:"err_code"`
	Message string `json:"err_msg"`
	Request string `json:"request_id"`
}

// Refuse implements dialect.Dialect.
func (d *Dialect) Refuse(why dialect.Refusal, h http.Header) string {
	f := failure{Code: failureCode(why), Message: why.Text, Request: uuid.NewString()}
	h.Set("Content-Type", "application/json")
	h.Set(headerRequest, f.Request)
	h.Set(headerError, headerText(why.Text))
	body, err := json.Marshal(f)
	if err != nil {
		return "" // never: strings always encode
	}
	return string(body)
}

// failureCode is the vendor's code nearest to a refusal.
func failureCode(why dialect.Refusal) string {
	switch why.Status {
	case http.StatusUnauthorized:
		return "INVALID_AUTH"
	case http.StatusForbidden:
		return "INSUFFICIENT_PERMISSIONS"
	case http.StatusTooManyRequests:
		return "TOO_MANY_REQUESTS"
	case http.StatusServiceUnavailable:
		if why.Code == "gateway_full" {
			return "TOO_MANY_REQUESTS"
		}
		return "SERVICE_UNAVAILABLE"
	case http.StatusUpgradeRequired:
		return "UPGRADE_REQUIRED"
	}
	return "INVALID_QUERY_PARAMETER"
}

// headerText keeps what a header may hold.
func headerText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxHeader)]
}
