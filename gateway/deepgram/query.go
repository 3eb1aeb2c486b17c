package deepgram

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"stenobus/gateway/dialect"
)

// query reads parameters as the vendor's clients write them. The first that is wrong
// is kept; after it the others are of no account.
type query struct {
	values   url.Values
	refusal  *dialect.Refusal
	warnings []string
}

// refuse names a parameter, its value and what is allowed.
func (q *query) refuse(name, value, allowed string) {
	if q.refusal == nil {
		q.refusal = badRequest("Invalid query parameter %s: %s. Allowed: %s", name, quote(value), allowed)
	}
}

func (q *query) warn(format string, args ...any) {
	q.warnings = append(q.warnings, fmt.Sprintf(format, args...))
}

func badRequest(format string, args ...any) *dialect.Refusal {
	return &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...)}
}

// quote shortens what a client wrote for a text that is sent back.
func quote(s string) string {
	const most = 64 // characters
	if r := []rune(valid(s)); len(r) > most {
		return strconv.Quote(string(r[:most]) + "...")
	}
	return strconv.Quote(valid(s))
}

// valid replaces what is no UTF-8, as everything here ends in JSON.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// text is a parameter that has one value. Of several the first counts.
func (q *query) text(name string) string {
	all := q.values[name]
	if len(all) == 0 {
		return ""
	}
	if len(slices.Compact(slices.Clone(all))) > 1 {
		q.warn("%s was given %d times: the first counts", name, len(all))
	}
	return strings.TrimSpace(valid(all[0]))
}

// flag is a parameter that is true or false; absent or empty: false.
func (q *query) flag(name string) bool {
	text := q.text(name)
	switch strings.ToLower(text) {
	case "true", "1":
		return true
	case "", "false", "0":
		return false
	}
	q.refuse(name, text, "true, false")
	return false
}

// number is a whole number in a range; ok is false where there is none, which some
// clients write as false.
func (q *query) number(name string, least, most int) (n int, ok bool) {
	text := q.text(name)
	if text == "" || strings.EqualFold(text, "false") {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.refuse(name, text, fmt.Sprintf("a whole number from %d to %d", least, most))
		return 0, false
	}
	return n, true
}

// list is a parameter of many values: repeated, as a JSON array, which a generated
// client writes, or with commas between them where no value may hold one.
func (q *query) list(name string, commas bool) []string {
	var all []string
	for _, text := range q.values[name] {
		text = strings.TrimSpace(valid(text))
		var array []string
		if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &array) == nil {
			all = append(all, array...)
			continue
		}
		if commas {
			all = append(all, strings.Split(text, ",")...)
		} else {
			all = append(all, text)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// unset tells whether a parameter has no value but what stands for its absence.
func (q *query) unset(name string) (value string, ok bool) {
	for _, text := range q.values[name] {
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "", "false", "0", "[]", "{}", "null":
		default:
			return text, false
		}
	}
	return "", true
}
