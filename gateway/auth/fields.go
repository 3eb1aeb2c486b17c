package auth

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// limits reads what a file of keys and a token may say of a client, by the same rules.
// An error names the field. It tells whether the field is one of these.
func (p *Principal) limits(field string, value json.RawMessage) (bool, error) {
	switch field {
	case "sessions":
		return true, patterns(field, value, &p.Sessions)
	case "providers":
		return true, patterns(field, value, &p.Providers)
	case "max_sessions":
		var n int
		if json.Unmarshal(value, &n) != nil || n < 1 {
			return true, fmt.Errorf("field %s: want a whole number, 1 or more", field)
		}
		p.MaxSessions = n
		return true, nil
	}
	return false, nil
}

// patterns reads a list that, if it is there, has an entry: an empty one would allow
// nothing to its writer and everything to a reader who takes it for absent.
func patterns(field string, value json.RawMessage, into *[]string) error {
	var list []string
	if json.Unmarshal(value, &list) != nil || len(list) == 0 || len(list) > maxPatterns {
		return fmt.Errorf("field %s: want a list of 1 to %d texts, with * for any characters", field, maxPatterns)
	}
	for _, text := range list {
		if !printable(text, maxPattern) {
			return fmt.Errorf("field %s: want texts of 1 to %d bytes without control characters", field, maxPattern)
		}
	}
	*into = list
	return nil
}

// printable tells whether a text may stand in a log line and a record.
func printable(text string, most int) bool {
	if len(text) == 0 || len(text) > most || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
