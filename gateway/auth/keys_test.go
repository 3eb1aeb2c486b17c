package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testWait = 30 * time.Second

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(testWait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", testWait, what)
		}
		<-tick.C
	}
}

// during runs something until the test ends.
func during(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replace writes a file as programs that care do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func hashOf(secret string) string {
	h := HashSecret(secret)
	return hex.EncodeToString(h[:])
}

func TestKeyFileRoundTrip(t *testing.T) {
	t.Parallel()
	full := Key{
		Principal: Principal{Name: `bridge "1" <é>`, Sessions: []string{"room-*", "a"}, Providers: []string{"tally"}, MaxSessions: 7},
		Hash:      HashSecret("x"), Expires: time.Date(2031, 12, 24, 18, 0, 0, 0, time.UTC),
	}
	bare := Key{Principal: Principal{Name: "n"}, Hash: HashSecret("y")}
	text := []byte("# who may connect") // no line end: an editor forgot it
	for _, k := range []Key{full, bare} {
		var err error
		if text, err = WithKey(text, k); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := ParseKeys(text)
	if err != nil || !reflect.DeepEqual(keys, []Key{full, bare}) {
		t.Fatalf("%v, %+v from\n%s", err, keys, text)
	}
	if !strings.Contains(string(text), `<é>`) {
		t.Errorf("the file is hard to read:\n%s", text)
	}
	rest, removed, err := WithoutKeys(text, func(k Key) bool { return k.Name == "n" })
	if err != nil || len(removed) != 1 || !strings.HasPrefix(string(rest), "# who may connect\n{") || strings.Count(string(rest), "\n") != 2 {
		t.Errorf("%v, removed %+v, left:\n%s", err, removed, rest)
	}
}

func TestBadKeyLines(t *testing.T) {
	t.Parallel()
	const leak = "stb_LEAKLEAKLEAK"
	hash := hashOf("x")
	for name, tc := range map[string]struct{ line, want string }{
		"no JSON":          {leak, "want a JSON object"},
		"another value":    {`["` + leak + `"]`, "want a JSON object"},
		"no end":           {`{"name":"a"`, "end is missing"},
		"no value":         {`{"name":}`, "field \"name\": not JSON"},
		"two objects":      {`{"name":"a","sha256":"` + hash + `"} {}`, "something follows"},
		"unknown field":    {`{"name":"a","session":"x"}`, `"session" is unknown, allowed are name, sha256`},
		"twice":            {`{"name":"a","name":"b"}`, `"name" is there twice`},
		"no name":          {`{"sha256":"` + hash + `"}`, "field name is missing"},
		"empty name":       {`{"name":"","sha256":"` + hash + `"}`, "field name: want"},
		"name is a number": {`{"name":7}`, "field name: want"},
		"control in name":  {`{"name":"a\nb"}`, "field name: want"},
		"long name":        {`{"name":"` + strings.Repeat("a", 257) + `"}`, "field name: want"},
		"no hash":          {`{"name":"a"}`, "field sha256 is missing"},
		"key as hash":      {`{"name":"a","sha256":"` + leak + `"}`, "field sha256: want 64 hexadecimal"},
		"short hash":       {`{"name":"a","sha256":"abcd"}`, "field sha256: want 64 hexadecimal"},
		"null hash":        {`{"name":"a","sha256":null}`, "field sha256: want 64 hexadecimal"},
		"empty sessions":   {`{"name":"a","sessions":[]}`, "field sessions: want a list of 1"},
		"sessions no list": {`{"name":"a","sessions":"` + leak + `"}`, "field sessions: want a list of 1"},
		"empty pattern":    {`{"name":"a","sessions":[""]}`, "field sessions: want texts"},
		"many patterns":    {`{"name":"a","sessions":["a"` + strings.Repeat(`,"a"`, 100) + `]}`, "field sessions: want a list"},
		"providers":        {`{"name":"a","providers":[1]}`, "field providers: want a list"},
		"max_sessions 0":   {`{"name":"a","max_sessions":0}`, "field max_sessions: want a whole number"},
		"max_sessions 1.5": {`{"name":"a","max_sessions":1.5}`, "field max_sessions: want a whole number"},
		"expires":          {`{"name":"a","expires":"tomorrow"}`, "field expires: want a time"},
		"long line":        {`{"name":"` + strings.Repeat("a", maxKeyLine) + `"}`, "more than 32768 bytes"},
		"same key":         {`{"name":"b","sha256":"` + strings.ToUpper(hash) + `"}`, "field sha256: the same as in line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t, "# comment\n"+`{"name":"first","sha256":"`+hash+`"}`+"\n\n"+tc.line+"\n")
			_, err := OpenKeys(KeysConfig{File: path})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 4: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s, line 4, %s", err, path, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), leak) {
				t.Errorf("the error shows a value: %v", err)
			}
		})
	}
	many := strings.Repeat("x\n", 50)
	if _, err := ParseKeys([]byte(many)); err == nil || strings.Count(err.Error(), "line") != maxFaults {
		t.Errorf("50 bad lines: %v, want %d named", err, maxFaults)
	}
}

func TestKeysAuthenticate(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	good, old, other := NewSecret(), NewSecret(), NewSecret()
	path := file(t, `{"name":"good","sha256":"`+hashOf(good)+`","sessions":["room-*"],"expires":"2030-01-01T00:00:01Z"}
{"name":"old","sha256":"`+hashOf(old)+`","expires":"2030-01-01T00:00:00Z"}`)
	keys, err := OpenKeys(KeysConfig{File: path, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		secret string
		want   string
	}{
		"good":       {good, ""},
		"expired":    {old, "has expired"},
		"unknown":    {other, "is not known here"},
		"cut":        {good[:20], "is not whole"},
		"not a key":  {"hello", "not known here"},
		"none":       {"", "no API key"},
		"its hash":   {hashOf(good), "not known here"},
		"with space": {good + " ", "is not whole"},
	} {
		p, err := First{keys}.Authenticate(t.Context(), tc.secret)
		switch {
		case tc.want == "" && (err != nil || p.Name != "good" || !p.MaySession("room-1") || p.MaySession("hall")):
			t.Errorf("%s: %+v, %v", name, p, err)
		case tc.want != "" && (err == nil || !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		case err != nil && tc.secret != "" && strings.Contains(err.Error(), tc.secret):
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	first, second := NewSecret(), NewSecret()
	line := func(secret string) string { return `{"name":"n","sha256":"` + hashOf(secret) + `"}` + "\n" }
	path := file(t, line(first))
	keys, err := OpenKeys(KeysConfig{File: path, Log: quiet(), Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	during(t, keys.Run)
	knows := func(secret string) bool {
		_, err := keys.Authenticate(t.Context(), secret)
		return err == nil
	}
	if !knows(first) || knows(second) {
		t.Fatal("the first file is not in force")
	}
	replace(t, path, line(second))
	until(t, "the key is exchanged", func() bool { return !knows(first) && knows(second) })
	replace(t, path, "nonsense")
	replace(t, path, line(first)+line(second))
	until(t, "both are known", func() bool { return knows(first) && knows(second) })
}

func TestSecretsAreUnlike(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		s := NewSecret()
		if !isSecret(s) || seen[s] {
			t.Fatalf("%q", s)
		}
		seen[s] = true
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "ab", false}, {"a", "ba", false},
		{"*", "", true}, {"*", "anything.at*all", true}, {"**", "", true}, {"**", "x", true},
		{"room-*", "room-", true}, {"room-*", "room-7", true}, {"room-*", "Room-7", false}, {"room-*", "my room-7", false},
		{"*-eu", "room-eu", true}, {"*-eu", "room-eu-7", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*a", "aba", true},
		{"ab*ba", "aba", false}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"a*b*c", "a-b-b-c", true}, {"a*bc*c", "abcc", true},
		{"a*bc*c", "abc", false}, {"*b*", "abc", true}, {"*b*", "ac", false}, {"a.c", "abc", false}, {"a?c", "abc", false}, {"[a]", "a", false},
		{"*é*", "café!", true}, {"a*", "\xff", false},
	} {
		if got := match(tc.pattern, tc.s); got != tc.want {
			t.Errorf("match(%q, %q) is %v", tc.pattern, tc.s, got)
		}
	}
	p := Principal{Sessions: []string{"a", "b*"}}
	if !p.MaySession("bob") || p.MaySession("carl") || !p.MayProvider("any") {
		t.Error("a list allows what one of its patterns does, an absent one everything")
	}
}

// fixed answers with what a test says.
type fixed struct {
	p   Principal
	err error
}

func (f fixed) Authenticate(context.Context, string) (Principal, error) { return f.p, f.err }

func TestFirst(t *testing.T) {
	t.Parallel()
	expired := known(errors.New("expired"))
	for name, tc := range map[string]struct {
		list First
		want string
	}{
		"nobody":                         {nil, ErrUnknown.Error()},
		"not theirs":                     {First{fixed{err: errOther}, fixed{err: errOther}}, ErrUnknown.Error()},
		"the one it was meant for, 1":    {First{fixed{err: expired}, fixed{err: errOther}}, "expired"},
		"the one it was meant for, 2":    {First{fixed{err: errOther}, fixed{err: expired}}, "expired"},
		"who can't tell":                 {First{fixed{err: errOther}, fixed{err: ErrNotReady}}, ErrNotReady.Error()},
		"the second knows":               {First{fixed{err: expired}, fixed{p: Principal{Name: "n"}}}, ""},
		"the second need not be waited":  {First{fixed{p: Principal{Name: "n"}}, fixed{err: ErrNotReady}}, ""},
		"a key that others do not know ": {First{fixed{err: known(errors.New("no such key"))}, fixed{err: errOther}}, "no such key"},
	} {
		p, err := tc.list.Authenticate(t.Context(), "secret")
		if tc.want == "" && (err != nil || p.Name != "n") || tc.want != "" && (err == nil || err.Error() != tc.want) {
			t.Errorf("%s: %+v, %v, want %q", name, p, err, tc.want)
		}
		if err != nil && errors.Is(err, ErrUnknown) == errors.Is(err, ErrNotReady) {
			t.Errorf("%s: %v is both unknown and not ready, or neither", name, err)
		}
	}
}
