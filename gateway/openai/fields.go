package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// object is a JSON object. As in the clients' own languages names are case-sensitive
// and the last of several equal ones counts.
type object map[string]json.RawMessage

// fault is what is wrong with a client's event. The zero value is none.
type fault struct{ code, param, allowed, message string }

func parse(data []byte) (object, bool) {
	var o object
	return o, json.Unmarshal(data, &o) == nil && o != nil
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// fields reads an object field by field and keeps the first fault. What is read is
// known; rest complains of all else.
type fields struct {
	at    string // dotted name of the object, with a dot behind it unless empty
	o     object
	known []string
	fault *fault // shared by an object and those in it
}

func (f *fields) failed() bool { return f.fault.code != "" }

func (f *fields) fail(code, name, allowed, format string, args ...any) {
	if !f.failed() {
		*f.fault = fault{code, cutTo(f.at+name, 128), allowed, fmt.Sprintf(format, args...)}
	}
}

func (f *fields) raw(name string) json.RawMessage {
	f.known = append(f.known, name)
	return f.o[name]
}

func (f *fields) has(name string) bool {
	_, ok := f.o[name]
	return ok
}

// wrong complains of a field of another type.
func (f *fields) wrong(name, want string) {
	f.fail(CodeBadType, name, want, "Invalid type for '%s': expected %s.", cutTo(f.at+name, 128), want)
}

func (f *fields) bad(name, given, allowed string) {
	f.fail(CodeBadValue, name, allowed, "Invalid value: '%s'. Supported values are: %s.", cutTo(given, 64), allowed)
}

// object is the object of a name; ok is false where there is none.
func (f *fields) object(name string) (inner *fields, ok bool) {
	raw := f.raw(name)
	if absent(raw) {
		return nil, false
	}
	o, ok := parse(raw)
	if !ok {
		f.wrong(name, "an object")
		return nil, false
	}
	return &fields{at: f.at + name + ".", o: o, fault: f.fault}, true
}

// text is the string of a name, empty where there is none.
func (f *fields) text(name string) string {
	raw := f.raw(name)
	if absent(raw) {
		return ""
	}
	s, ok := text(raw)
	if !ok {
		f.wrong(name, "a string")
	}
	return s
}

// choice is a string of a closed list.
func (f *fields) choice(name string, allowed ...string) string {
	s := f.text(name)
	if !absent(f.o[name]) && !slices.Contains(allowed, s) && !f.failed() {
		f.bad(name, s, "'"+strings.Join(allowed, "', '")+"'")
	}
	return s
}

// number is a number within bounds; ok is false where there is none.
func (f *fields) number(name string, least, most float64) (v float64, ok bool) {
	raw := f.raw(name)
	if absent(raw) {
		return 0, false
	}
	want := fmt.Sprintf("a number from %g to %g", least, most)
	switch err := json.Unmarshal(raw, &v); {
	case err != nil:
		f.wrong(name, want)
	case v < least || v > most:
		f.bad(name, string(raw), want)
	}
	return v, !f.failed()
}

// integer is a whole number within bounds; ok is false where there is none.
func (f *fields) integer(name string, least, most int) (n int, ok bool) {
	v, ok := f.number(name, float64(least), float64(most))
	if ok && v != math.Trunc(v) {
		f.wrong(name, "an integer")
		return 0, false
	}
	return int(v), ok
}

func (f *fields) flag(name string) (v bool) {
	raw := f.raw(name)
	if !absent(raw) && json.Unmarshal(raw, &v) != nil {
		f.wrong(name, "a boolean")
	}
	return v
}

// texts is an array of strings.
func (f *fields) texts(name string) (list []string) {
	raw := f.raw(name)
	if !absent(raw) && json.Unmarshal(raw, &list) != nil {
		f.wrong(name, "an array of strings")
	}
	return list
}

// rest refuses what was not read.
func (f *fields) rest() {
	for _, name := range f.unread() {
		f.fail(CodeUnknown, name, strings.Join(f.known, ", "), "Unknown parameter: '%s'.", cutTo(f.at+name, 128))
	}
}

// unread lists the names that were not read, in alphabetical order.
func (f *fields) unread() (names []string) {
	for name := range f.o {
		if !slices.Contains(f.known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cutTo shortens a text for a message, without half a character.
func cutTo(s string, bytes int) string {
	if len(s) <= bytes {
		return valid(s)
	}
	return strings.ToValidUTF8(s[:bytes], "") + "..."
}
