package subjects_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// releases are those whose messages today's programs must read, with the digest of what
// testdata/released keeps of each: what was released is never written anew.
var releases = map[string]string{
	"0.1.0": "27af413a6e3c6327a8379e63235b923f9807e992e91f456b99539024a57738a9",
}

var listFields = flag.Bool("list-fields", false, "print the field list for a release")

// fieldList is the file, beside a release's messages, that names every field of its
// types, those too that no golden message shows: message, path, JSON type, presence.
const fieldList = "fields.txt"

func released(t *testing.T, release string) fs.FS {
	t.Helper()
	return os.DirFS(path.Join("testdata", "released", release))
}

func TestReleasedFilesAreAsReleased(t *testing.T) {
	t.Parallel()
	folders, err := os.ReadDir(path.Join("testdata", "released"))
	if err != nil || len(folders) != len(releases) {
		t.Errorf("testdata/released has %d folders for %d releases, %v", len(folders), len(releases), err)
	}
	for release, want := range releases {
		sum := sha256.New()
		err := fs.WalkDir(released(t, release), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := fs.ReadFile(released(t, release), name)
			fmt.Fprintf(sum, "%s %d\n%s", name, len(raw), raw)
			return err
		})
		if got := hex.EncodeToString(sum.Sum(nil)); err != nil || got != want {
			t.Errorf("files of release %s have the digest %s, want %s (%v)", release, got, want, err)
		}
	}
}

// What a program of a release has written is read by today's decoders, and means what it
// meant: written again it has every field of old, with its value.
func TestReleasedMessagesAreRead(t *testing.T) {
	t.Parallel()
	forReleased(t, func(t *testing.T, g golden, raw []byte) {
		m := parseGolden(t, raw)
		if m.Subject != g.subject {
			t.Errorf("subject %q, today it goes to %q", m.Subject, g.subject)
		}
		again := rewrite(t, g, m)
		for name, values := range m.Header {
			if name == subjects.SourceHeader {
				checkKept(t, name, value(t, []byte(values[0])), value(t, []byte(again.Header.Get(name))))
			} else if lost := missingWords(values[0], again.Header.Get(name)); len(lost) > 0 {
				t.Errorf("header %s lost %q", name, lost)
			}
		}
		if g.decode == nil {
			if !bytes.Equal(m.Data, again.Data) {
				t.Errorf("payload %q became %q", m.Data, again.Data)
			}
			return
		}
		checkKept(t, "", value(t, m.Data), value(t, again.Data))
	})
}

// A later minor release may add fields anywhere: whoever does not know them passes over them.
func TestReleasedMessagesWithLaterFieldsAreRead(t *testing.T) {
	t.Parallel()
	forReleased(t, func(t *testing.T, g golden, raw []byte) {
		m := parseGolden(t, raw)
		plain := rewrite(t, g, m)
		later := &nats.Msg{Header: nats.Header{}, Data: m.Data}
		for name, values := range m.Header {
			later.Header.Set(name, values[0])
		}
		if g.envelope != nil {
			later.Header.Set(subjects.HeaderName, m.Header.Get(subjects.HeaderName)+" invented=1/x,2")
		}
		if s := m.Header.Get(subjects.SourceHeader); s != "" {
			later.Header.Set(subjects.SourceHeader, string(subjects.Encode(withLater(value(t, []byte(s))))))
		}
		if g.decode != nil {
			later.Data = subjects.Encode(withLater(value(t, m.Data)))
		}
		again := rewrite(t, g, later)
		if !bytes.Equal(again.Data, plain.Data) || !reflect.DeepEqual(again.Header, plain.Header) {
			t.Errorf("with later fields it reads\n%v %s\nwant\n%v %s", again.Header, again.Data, plain.Header, plain.Data)
		}
	})
}

// Programs of a release read what today's write: no field of theirs is gone, has another
// name or another type, and what was always there still is.
func TestReleasedFieldsAreKept(t *testing.T) {
	t.Parallel()
	today := map[string]string{}
	for _, line := range typeFields() {
		name, presence := cutLast(line)
		today[name] = presence
		if *listFields {
			fmt.Println(line)
		}
	}
	for release := range releases {
		raw, err := fs.ReadFile(released(t, release), fieldList)
		if err != nil {
			t.Fatal(err)
		}
		messages := map[string]any{}
		for _, g := range goldens() {
			if g.decode != nil {
				messages[g.name] = value(t, subjects.Encode(g.payload))
			} else if g.envelope.Starts != nil {
				messages[g.name] = value(t, subjects.Encode(g.envelope.Starts))
			}
		}
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		if len(lines) < 100 {
			t.Fatalf("release %s lists %d fields", release, len(lines))
		}
		for _, line := range lines {
			name, presence := cutLast(line)
			now, ok := today[name]
			if !ok || presence == "always" && now != "always" {
				t.Errorf("release %s has %q, today it is %q", release, line, now)
			}
			words := strings.Fields(line)
			found := at(messages[words[0]], strings.Split(words[1], "."))
			for _, v := range found {
				if jsonType(v) != words[2] {
					t.Errorf("release %s has %q, today's golden message has %v", release, line, v)
				}
			}
			if presence == "always" && len(found) == 0 && !strings.Contains(words[1], ".") {
				t.Errorf("release %s has %q, today's golden message lacks it", release, line)
			}
		}
	}
}

// forReleased calls f for each message of each release, with today's golden of its name.
func forReleased(t *testing.T, f func(t *testing.T, g golden, raw []byte)) {
	t.Helper()
	for release := range releases {
		names, err := fs.Glob(released(t, release), "*.msg")
		if err != nil || len(names) < 28 {
			t.Fatalf("release %s has %d messages, %v", release, len(names), err)
		}
		for _, name := range names {
			t.Run(release+"/"+name, func(t *testing.T) {
				t.Parallel()
				all := goldens()
				i := slices.IndexFunc(all, func(g golden) bool { return g.name+".msg" == name })
				if i < 0 {
					t.Fatal("there is no such message any more")
				}
				raw, err := fs.ReadFile(released(t, release), name)
				if err != nil {
					t.Fatal(err)
				}
				f(t, all[i], raw)
			})
		}
	}
}

// rewrite reads a message with today's decoders and writes it again.
func rewrite(t *testing.T, g golden, m *nats.Msg) *nats.Msg {
	t.Helper()
	payload := m.Data
	if g.decode != nil {
		v, err := g.decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		payload = subjects.Encode(v)
	}
	if g.envelope == nil {
		return &nats.Msg{Data: payload}
	}
	var e subjects.Envelope
	if err := e.ParseMsg(m); err != nil {
		t.Fatal(err)
	}
	return e.Msg(g.subject, payload)
}

// checkKept fails where now lacks something of old. An empty list or object may be left out.
func checkKept(t *testing.T, at string, old, now any) {
	t.Helper()
	switch old := old.(type) {
	case map[string]any:
		fields, _ := now.(map[string]any)
		for k, v := range old {
			checkKept(t, at+"."+k, v, fields[k])
		}
	case []any:
		list, _ := now.([]any)
		if len(list) != len(old) {
			t.Errorf("%s: %v became %v", at, old, now)
			return
		}
		for i, v := range old {
			checkKept(t, fmt.Sprintf("%s.%d", at, i), v, list[i])
		}
	default:
		if old != now {
			t.Errorf("%s: %v became %v", at, old, now)
		}
	}
}

// withLater adds a field that nobody knows to every object that is a struct, not a map.
func withLater(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			switch k {
			case "covered", "frames", "refused", "accepted", "labels", "extra": // keys are data
			default:
				v[k] = withLater(inner)
			}
		}
		v["invented_later"] = map[string]any{"x": []any{1.0}}
	case []any:
		for i := range v {
			v[i] = withLater(v[i])
		}
	}
	return v
}

func missingWords(old, now string) (lost []string) {
	have := strings.Fields(now)
	for _, w := range strings.Fields(old) {
		if !slices.Contains(have, w) {
			lost = append(lost, w)
		}
	}
	return lost
}

// typeFields lists the fields of every message's type.
func typeFields() (lines []string) {
	for _, g := range goldens() {
		if g.decode != nil {
			lines = append(lines, walk(reflect.TypeOf(g.payload), g.name, "")...)
		}
		if g.envelope != nil && g.envelope.Starts != nil {
			lines = append(lines, walk(reflect.TypeFor[subjects.Source](), g.name, "")...)
		}
	}
	return lines
}

func walk(t reflect.Type, message, at string) (lines []string) {
	switch t.Kind() {
	case reflect.Pointer:
		return walk(t.Elem(), message, at)
	case reflect.Slice, reflect.Map:
		return append([]string{line(message, at+"*", t.Elem(), "always")}, walk(t.Elem(), message, at+"*.")...)
	case reflect.Struct:
	default:
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" { // embedded
			lines = append(lines, walk(f.Type, message, at)...)
			continue
		}
		presence := "always"
		if strings.Contains(options, "omit") {
			presence = "optional"
		}
		lines = append(lines, line(message, at+name, f.Type, presence))
		lines = append(lines, walk(f.Type, message, at+name+".")...)
	}
	return lines
}

func line(message, at string, t reflect.Type, presence string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind := "number"
	switch t.Kind() {
	case reflect.String:
		kind = "string"
	case reflect.Bool:
		kind = "boolean"
	case reflect.Slice:
		kind = "array"
	case reflect.Map, reflect.Struct:
		kind = "object"
	}
	return fmt.Sprintf("%s %s %s %s", message, at, kind, presence)
}

// at finds the values at a path, whose word * stands for every element.
func at(v any, steps []string) (found []any) {
	if len(steps) == 0 {
		return []any{v}
	}
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if steps[0] == "*" || steps[0] == k {
				found = append(found, at(inner, steps[1:])...)
			}
		}
	case []any:
		for _, inner := range v {
			found = append(found, at(inner, steps[1:])...)
		}
	}
	return found
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

func value(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, ' ')
	return s[:i], s[i+1:]
}
