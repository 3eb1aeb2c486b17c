package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"stenobus/subjects"
)

// said is what a client says at a time, ms: a frame of a source, or that it is to be
// finalised.
type said struct {
	at    int64
	tag   string
	lasts int64 // ms; 0: not known
	flush bool
}

// every is frames of a source, one in each gap from a time on, all in ms.
func every(tag string, from, gap int64, frames int) (all []said) {
	for i := range int64(frames) {
		all = append(all, said{at: from + i*gap, tag: tag, lasts: gap})
	}
	return all
}

// recording is frames of 20 ms, one in each ms.
func recording(frames int) (all []said) {
	for i := range int64(frames) {
		all = append(all, said{at: i, tag: "a", lasts: 20})
	}
	return all
}

func TestWhenSharedMessagesGoOut(t *testing.T) {
	t.Parallel()
	var each []string // before a source counts as hasty
	for i := range hasteAfter {
		each = append(each, fmt.Sprintf("%d:1", i))
	}
	alone := strings.Join(each, " ")
	frames := func(tag string, lasts int64, at ...int64) (all []said) {
		for _, ms := range at {
			all = append(all, said{at: ms, tag: tag, lasts: lasts})
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		share   int64
		said    []said // in order
		until   int64
		want    string // "at:numbers" of each moment at which something goes out, ms
		strikes string // when the timer wakes the loop, ms
	}{
		{"frames that come evenly", 60, every("a", 0, 20, 12), 239, "50:3 110:3 170:3 230:3", ""},
		{"unevenly", 60, frames("a", 20, 0, 22, 39, 63, 79, 104, 118, 141, 160), 170, "49:3 114:3 170:3", ""},
		{"a window between two frames", 50, every("a", 0, 20, 9), 170, "48:3 108:3 168:3", ""},
		{"shorter than two frames", 30, every("a", 0, 20, 4), 79, "25:2 65:2", ""},
		{"no longer than a frame", 20, every("a", 0, 20, 3), 59, "3:1 23:1 43:1", ""},
		{"longer frames than the window", 60, every("a", 0, 120, 3), 300, "10:1 130:1 250:1", "70 190"},
		{"a frame comes late", 60, frames("a", 20, 0, 20, 55, 75, 80, 100, 120), 130, "55:3 130:4", ""},
		{"later than allowed", 60, frames("a", 20, 0, 20, 64, 80, 100), 118, "60:2 110:3", "60"},
		{"the speaker stops", 60, frames("a", 20, 0, 20, 500), 700, "60:2 560:1", "60 120 560 620"},
		{"two speakers", 60, []said{
			{0, "a", 20, false}, {5, "b", 20, false}, {20, "a", 20, false}, {25, "b", 20, false}, {40, "a", 20, false}, {45, "b", 20, false},
			{60, "a", 20, false}, {65, "b", 20, false}, {80, "a", 20, false}, {85, "b", 20, false}, {100, "a", 20, false}, {105, "b", 20, false},
		}, 115, "55:6 115:6", ""},
		{"speakers with long frames wait for each other", 60, []said{
			{0, "a", 60, false}, {30, "b", 60, false}, {60, "a", 60, false}, {90, "b", 60, false}, {120, "a", 60, false}, {150, "b", 60, false},
		}, 160, "10:1 70:2 130:2", ""},
		{"one of two stops", 60, []said{
			{0, "a", 20, false}, {5, "b", 20, false}, {20, "a", 20, false}, {40, "a", 20, false},
			{61, "a", 20, false}, {80, "a", 20, false}, {100, "a", 20, false}, {120, "a", 20, false},
		}, 150, "60:4 110:3", "60"},
		{"lengths that are not known", 60, frames("a", 0, 0, 20, 40, 60, 80, 100, 120), 130, "10:1 70:3 130:3", ""},
		{"what is no frame goes at once", 60, []said{{0, "a", 20, false}, {10, "a", 0, true}, {20, "a", 20, false}}, 30, "10:2", ""},
		{"a burst", 60, frames("a", 20, make([]int64, 70)...), 70, "0:64 60:6", "60"},
		{"a recording", 0, recording(73), 73, alone + " 52:20 72:20", "52 72"},
		{"a speaker after a burst", 0, append(recording(40), every("a", 60, 20, 3)...), 110, alone + " 52:8 60:1 80:1 100:1", "52 72"},
		{"no sharing", 0, every("a", 0, 20, 3), 50, "0:1 20:1 40:1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := still(t, Config{Share: time.Duration(tt.share) * time.Millisecond})
			sent, strikes := tellAll(t, s, tt.said, tt.until, s.srv.departures.depart)
			if sent != tt.want {
				t.Errorf("sent at %q, want %q", sent, tt.want)
			}
			if strikes != tt.strikes {
				t.Errorf("the timer struck at %q, want %q", strikes, tt.strikes)
			}
		})
	}
}

// A session sends on time where nobody lets it depart with others, or passes it over.
func TestSharedMessagesGoOutWithoutDepartures(t *testing.T) {
	t.Parallel()
	for name, depart := range map[string]func(*session, time.Time){
		"they stand still": func(*session, time.Time) {},
		"the session is busy": func(s *session, now time.Time) {
			s.turn.Lock()
			defer s.turn.Unlock()
			s.srv.departures.depart(now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := still(t, Config{Share: 60 * time.Millisecond})
			sent, strikes := tellAll(t, s, every("a", 0, 20, 6), 150, func(now time.Time) {
				depart(s, now)
				s.srv.departures.at = time.Time{}
			})
			if want := "60:3 120:3"; sent != want || strikes != "60 120" {
				t.Errorf("sent at %q as the timer struck at %q, want %q", sent, strikes, want)
			}
		})
	}
}

// tellAll lets a session that streams take what is said, its timer strike and the departures
// depart, in their order. No frame may wait longer than it may.
func tellAll(t *testing.T, s *session, all []said, until int64, depart func(time.Time)) (sent, strikes string) {
	t.Helper()
	s.timer = time.NewTimer(time.Hour)
	defer s.timer.Stop()
	s.numbered, s.phase = true, streaming
	s.snd.begin(nil, 0)
	begin := time.Now()
	s.clock.end = begin.Add(time.Hour) // so that there is always something to wait for
	s.arm()
	var out, struck []string
	came := map[uint64]int64{} // by number, ms
	note := func(now int64) {
		n := 0
		for number, at := range came {
			if number >= s.snd.next {
				continue
			}
			if delete(came, number); now-at > max(s.srv.cfg.Share, hasteShare).Milliseconds() {
				t.Errorf("number %d waited %d ms", number, now-at)
			}
			n++
		}
		if n > 0 {
			out = append(out, fmt.Sprintf("%d:%d", now, n))
		}
		s.arm()
	}
	strikeTo := func(to int64) {
		for {
			at, departs := s.armed, s.srv.departures.at
			switch until := begin.Add(time.Duration(to) * time.Millisecond); {
			case !departs.IsZero() && !departs.After(until) && departs.Before(at):
				depart(departs)
				note(departs.Sub(begin).Milliseconds())
				continue
			case at.After(until):
				return
			}
			s.armed = time.Time{}
			now := at.Sub(begin).Milliseconds()
			struck = append(struck, fmt.Sprint(now))
			s.tick(t.Context(), at)
			note(now)
		}
	}
	for _, x := range all {
		strikeTo(x.at)
		at := begin.Add(time.Duration(x.at) * time.Millisecond)
		f := s.feeds[x.tag]
		if f == nil {
			f = &feed{number: uint32(len(s.feeds) + 1)}
			s.feeds[x.tag] = f
		}
		e := entry{kind: subjects.KindFlush, source: f.number}
		if !x.flush {
			e.kind, e.payload, e.packet = subjects.KindFrames, []byte("frame"), -1
			f.cadence.frame(at, time.Duration(x.lasts)*time.Millisecond)
			s.heard = f
		}
		came[s.snd.push(e)] = x.at
		s.flow(at)
		note(x.at)
	}
	strikeTo(until)
	return strings.Join(out, " "), strings.Join(struck, " ")
}
