package openai

import (
	"net/http"

	"stenobus/gateway/dialect"
)

// Types of errors.
const (
	typeRequest = "invalid_request_error"
	typeLimit   = "rate_limit_error"
	typeServer  = "server_error"
)

// refusal is the body of every failed request to the vendor's API.
type refusal struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	} `json:"error"`
}

// Refuse implements dialect.Dialect. Clients retry by status and code.
func (d *Dialect) Refuse(why dialect.Refusal, h http.Header) string {
	h.Set("Content-Type", "application/json; charset=utf-8")
	var body refusal
	e := &body.Error
	e.Message, e.Type, e.Code = why.Text, typeRequest, why.Code
	if why.Field != "" {
		e.Param = &why.Field
		e.Code = CodeBadValue
	}
	switch {
	case why.Status == http.StatusUnauthorized:
		e.Code = "invalid_api_key"
	case why.Status == http.StatusTooManyRequests:
		e.Type, e.Code = typeLimit, "rate_limit_exceeded"
	case why.Status >= http.StatusInternalServerError:
		e.Type, e.Code = typeServer, "server_error"
	}
	return string(encode(body))
}
