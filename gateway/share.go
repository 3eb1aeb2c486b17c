package gateway

import "time"

// Frames that share a message wait for Config.Share at most, and for no frame that is
// expected later than that. With the last one in time they wait a little more for the messages
// of other sessions, if that is in time too, see departures. To wake the session's loop for
// each message would cost more than to share it saves, so the loop's timer is for speakers
// that stop and for want of departures. It is put off with each message.

// Audio that comes at more than twice real time, as a recording's, is in no hurry. Its frames
// share messages also where others' do not, so that a client that sends at many times real
// time takes little from the others.
const (
	hasteAfter = 32                    // frames that came so, one after the other
	hasteShare = 20 * time.Millisecond // how long such frames wait at least, and for whatever comes
)

// cadence is when a source's next frame is expected.
type cadence struct {
	came  time.Time     // the last frame
	gap   time.Duration // and how long after it the next should come
	hasty int           // how many in a row came before half of the last one's audio was over
}

// frame notes a frame and how long its audio is. Where that is not known, 0, the next one
// is expected after as long as this one came after the last.
func (c *cadence) frame(now time.Time, lasts time.Duration) {
	since := now.Sub(c.came)
	if c.hasty++; lasts == 0 || since >= lasts/2 {
		c.hasty = 0
	}
	if lasts == 0 && !c.came.IsZero() {
		lasts = since
	}
	c.came, c.gap = now, lasts
}

// expects tells whether a frame should still come, and in time. A frame that is due within
// the last quarter of a gap before by counts as too late: it would as often miss it as not.
// One that is late by a gap is not waited for any more.
func (c *cadence) expects(now, by time.Time) bool {
	next := c.came.Add(c.gap)
	return now.Before(next.Add(c.gap)) && !by.Before(next.Add(c.gap/4))
}

// waits tells whether the frames that can be sent wait for others to share their message.
func (s *session) waits(now time.Time) bool {
	if s.over || s.goes || !s.snd.onlyFresh() {
		return false
	}
	share, hasty := s.sharing()
	if share == 0 {
		return false
	}
	oldest := s.oldest
	if oldest.IsZero() {
		oldest = now
	}
	by := oldest.Add(share)
	if !now.Before(by) || !hasty && !s.expects(now, by) && !s.joins(now, by) {
		return false
	}
	if s.oldest.IsZero() {
		s.oldest = now
		s.look(now.Add(share))
	}
	return true
}

// sharing is how long a frame may wait, and whether its source is hasty.
func (s *session) sharing() (share time.Duration, hasty bool) {
	share = s.srv.cfg.Share
	if hasty = s.heard != nil && s.heard.cadence.hasty >= hasteAfter; hasty {
		share = max(share, hasteShare)
	}
	return share, hasty
}

// joins lets what waits go with messages of other sessions. It reports false where that would
// be too late.
func (s *session) joins(now, by time.Time) bool {
	if s.departs.Load() {
		return true
	}
	ok := s.srv.departures.join(s, now, by)
	s.departs.Store(ok)
	return ok
}

// expects tells whether any source should have another frame in time.
func (s *session) expects(now, by time.Time) bool {
	if s.heard != nil && s.heard.cadence.expects(now, by) { // most likely, and cheaper than the map
		return true
	}
	for _, f := range s.feeds {
		if f.cadence.expects(now, by) {
			return true
		}
	}
	return false
}

// shared notes that nothing waits any more. The timer is put off until a message that
// begins at once would have to go, as the next one most likely begins soon: to set a timer
// to an earlier moment wakes a thread, to a later one costs next to nothing.
func (s *session) shared(now time.Time) {
	if !s.oldest.IsZero() {
		s.oldest = time.Time{}
		share, _ := s.sharing()
		s.look(now.Add(share))
	}
}

// look lets the loop see at that time what waits.
func (s *session) look(at time.Time) { s.clock.share, s.armed = at, time.Time{} }
