package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// said are the kinds and sources of what was numbered, in order.
func (s *session) said() (list []string) {
	for _, e := range s.snd.window {
		kind := string(e.kind)
		if e.starts != nil {
			kind = fmt.Sprintf("start %s %s", e.starts.Name, e.starts.Encoding)
		}
		list = append(list, fmt.Sprintf("%s %d", kind, e.source))
	}
	return list
}

// A bridge never says that a speaker has left: the one that has been silent the longest
// gives its place to another, and goes on as another source in the format of before.
func TestSilentSourceGivesItsPlace(t *testing.T) {
	t.Parallel()
	s := still(t, Config{MaxSources: 2})
	s.startCount(1, nil)
	past := func(ago time.Duration) { s.began = s.began.Add(-ago) }
	for _, tag := range []string{"a", "b"} {
		s.event(starts(tag))
		s.event(says(tag, 2))
		past(silentFor / 2)
	}
	s.event(says("a", 2))
	s.event(says("c", 2)) // nobody is silent for long
	past(silentFor - time.Second)
	s.event(says("a", 2))
	s.event(says("c", 2)) // b is
	s.event(says("a", 2))
	past(2 * silentFor)
	s.event(says("c", 2))
	s.event(says("b", 2)) // instead of a
	want := "start a l16 1, start b l16 2, frames 1, frames 1, stop 2, start c opus 3, frames 1, frames 3, stop 1, start b l16 4"
	if got := strings.Join(s.said(), ", "); got != want {
		t.Errorf("numbered\n%s, want\n%s", got, want)
	}
	if s.name(2) != "b" || s.name(4) != "b" {
		t.Errorf("sources 2 and 4 are %s and %s", s.name(2), s.name(4))
	}
	s.event(dialect.Event{Kind: dialect.Stop, Tag: "a"})
	s.event(dialect.Event{Kind: dialect.Stop, Tag: "b"})
	s.event(says("a", 2)) // it was stopped by its client: nothing is remembered
	if got := s.said(); got[len(got)-1] != "start a opus 5" {
		t.Errorf("after its client stopped it: %s", got[len(got)-1])
	}
}

// Places of an earlier connection's sources, too, are for those who speak.
func TestSilentSourceOfAnEarlierConnection(t *testing.T) {
	t.Parallel()
	s := still(t, Config{MaxSources: 2})
	s.startCount(50, []subjects.Source{{Source: 1, Name: "old", Encoding: "l16", SampleRate: 16000, Channels: 1}})
	s.event(says("a", 2))
	s.began = s.began.Add(-2 * silentFor)
	s.event(says("b", 2))
	s.event(dialect.Event{Kind: dialect.Stop, Tag: "a"})
	s.event(says("old", 2))
	want := "start a opus 2, stop 1, start b opus 3, stop 2, start old l16 4"
	if got := strings.Join(s.said(), ", "); got != want {
		t.Errorf("numbered\n%s, want\n%s", got, want)
	}
}

// What results tell of sources must fit into a message, whatever their names.
func TestSourcesWithLongNamesAreFewer(t *testing.T) {
	t.Parallel()
	s := still(t, Config{})
	s.startCount(1, nil)
	for i := 0; !s.over && i < 2000; i++ {
		tag := strings.Repeat("\x01", 120) + fmt.Sprint(i)
		s.event(starts(tag))
		s.event(dialect.Event{Kind: dialect.Stop, Tag: tag})
		s.event(says(tag, 2))
		s.event(dialect.Event{Kind: dialect.Stop, Tag: tag})
	}
	names := map[uint32]string{}
	for n, name := range s.byNum {
		names[n] = name
	}
	if n := 2 * len(subjects.Encode(names)); !s.over || s.closing.code != endUsedUp.code || n > s.snd.room {
		t.Errorf("%d sources whose names take %d bytes of %d, the life ended with %q", len(names), n, s.snd.room, s.closing.code)
	}
}
