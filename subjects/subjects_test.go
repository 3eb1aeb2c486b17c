package subjects_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"stenobus/subjects"
)

// The names are the contract: each is pinned as a literal.
func TestNames(t *testing.T) {
	t.Parallel()
	id, wid := subjects.SessionID("a.b *>/é"), subjects.WorkerID("gpu 1")
	for got, want := range map[string]string{
		subjects.Frames(id):                          "transcribe.session.a=2Eb=20=2A=3E=2F=C3=A9",
		subjects.Result(id):                          "transcribe.result.a=2Eb=20=2A=3E=2F=C3=A9",
		subjects.Inbox(id, subjects.ChannelAck):      "transcribe.inbox.a=2Eb=20=2A=3E=2F=C3=A9.ack",
		subjects.InboxAll(id):                        "transcribe.inbox.a=2Eb=20=2A=3E=2F=C3=A9.*",
		subjects.Worker(wid):                         "transcribe.worker.gpu=201",
		subjects.SessionRecord(id):                   "$KV.transcribe_sessions.a=2Eb=20=2A=3E=2F=C3=A9",
		subjects.Frames("Plain-id_9"):                "transcribe.session.Plain-id_9",
		subjects.Claim:                               "transcribe.claim",
		subjects.ClaimRenew:                          "transcribe.claim.renew",
		subjects.ClaimEnd:                            "transcribe.claim.end",
		subjects.AllResults:                          "transcribe.result.*",
		subjects.Inbox("x", subjects.ChannelResult):  "transcribe.inbox.x.result",
		subjects.Inbox("x", subjects.ChannelInterim): "transcribe.inbox.x.interim",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	frames := func(s string) error { _, err := subjects.ParseFrames(s); return err }
	inbox := func(s string) error { _, _, err := subjects.ParseInbox(s); return err }
	for _, tt := range []struct {
		parse   func(string) error
		subject string
		want    error
	}{
		{frames, "transcribe.session.", subjects.ErrID},
		{frames, "transcribe.session.a.b", subjects.ErrSubject},
		{frames, "transcribe.session.*", subjects.ErrSubject},
		{frames, "transcribe.session.=41", subjects.ErrSubject}, // A is written A
		{frames, "transcribe.session.=2e", subjects.ErrSubject}, // lower case
		{frames, "transcribe.session.=2", subjects.ErrSubject},
		{frames, "transcribe.session.=FF", subjects.ErrID}, // not UTF-8
		{frames, "transcribe.session." + strings.Repeat("a", 129), subjects.ErrID},
		{frames, "transcribe.result.a", subjects.ErrSubject},
		{inbox, "transcribe.inbox.a", subjects.ErrSubject},
		{inbox, "transcribe.inbox.a.other", subjects.ErrSubject},
		{inbox, "transcribe.inbox.a.ack.b", subjects.ErrSubject},
	} {
		if err := tt.parse(tt.subject); !errors.Is(err, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.subject, err, tt.want)
		}
	}
}

func FuzzSessionID(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "*", ">", "../x", "\r\n", "🙂", strings.Repeat("x", 200), "unknown"} {
		f.Add(s, s+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ida, err := subjects.NewSessionID(a)
		if err != nil {
			return
		}
		token := ida.Token()
		if strings.ContainsAny(token, ". *>\r\n\t/\\") || token == "" {
			t.Fatalf("%q has token %q", a, token)
		}
		back, err := subjects.ParseFrames(subjects.Frames(ida))
		if err != nil || back != ida {
			t.Fatalf("%q came back as %q, %v", a, back, err)
		}
		n := subjects.Split(len(b) % (subjects.MaxSplit + 1))
		if back, err := subjects.ParseResult(n.Place(ida).Subject); err != nil || back != ida {
			t.Fatalf("%q, split over %d, came back as %q, %v", a, n, back, err)
		}
		if idb, err := subjects.NewSessionID(b); err == nil && (ida == idb) != (token == idb.Token()) {
			t.Fatalf("%q and %q have tokens %q and %q", a, b, token, idb.Token())
		}
	})
}

func FuzzSessionToken(f *testing.F) {
	for _, s := range []string{"a=2Eb", "=41", "=", "=2", "==", "=2e", "a.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := subjects.ParseSessionToken(token)
		if err == nil && id.Token() != token {
			t.Fatalf("token %q is read as %q, which is written %q", token, id, id.Token())
		}
	})
}

func TestBoundWhy(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "short", strings.Repeat("x", subjects.MaxWhy)} {
		if got := subjects.BoundWhy(s); got != s {
			t.Errorf("%d bytes became %d", len(s), len(got))
		}
	}
	for pad := range 4 {
		got := subjects.BoundWhy(strings.Repeat("x", pad) + strings.Repeat("語", subjects.MaxWhy))
		if len(got) > subjects.MaxWhy || len(got) < subjects.MaxWhy-3 || !utf8.ValidString(got) || !strings.HasSuffix(got, "語…") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

func TestDirectly(t *testing.T) {
	t.Parallel()
	for claim, want := range map[string]string{
		subjects.Claim:      "transcribe.dispatcher.AbC.claim",
		subjects.ClaimCheck: "transcribe.dispatcher.AbC.check",
		subjects.ClaimRenew: "transcribe.dispatcher.AbC.renew",
		subjects.ClaimEnd:   "transcribe.dispatcher.AbC.end",
	} {
		if got := subjects.Directly(claim, "AbC"); got != want {
			t.Errorf("%s: %s, want %s", claim, got, want)
		}
	}
}
