package capacity

import (
	"errors"
	"fmt"
	"time"

	"stenobus/subjects"
	"stenobus/worker"
)

// Usage is what is assumed.
type Usage struct {
	Speakers      float64 `json:"speakers_per_session"`
	FramesPerS    float64 `json:"frames_per_s_and_speaker"`    // on average, silence included
	ResultsPerMin float64 `json:"results_per_min_and_speaker"` // finals and marks
	LengthS       float64 `json:"session_length_s"`
	Busy          float64 `json:"busy_share"` // of cores, streams and buckets: that much one plans to use
	Cores         float64 `json:"cores_per_server"`
	Cell          int     `json:"bus_servers_per_cell"` // at most
	Slots         float64 `json:"sessions_per_worker"`
	AgeS          float64 `json:"results_age_s"`
}

// DefaultUsage is one speaker a session who never pauses, which is the most that he can
// cost: a final every 10 s is what workers make of that.
func DefaultUsage() Usage {
	return Usage{
		Speakers: 1, FramesPerS: 50, ResultsPerMin: float64(time.Minute / worker.DefaultTurnLimit), LengthS: 1800,
		Busy: 0.5, Cores: 4, Cell: 12, Slots: 100, AgeS: subjects.DefaultResultsAge.Seconds(),
	}
}

// Validate names the first that is out of range by its flag of the program.
func (u Usage) Validate() error {
	for _, f := range []struct {
		name        string
		v           float64
		unit        string
		least, most float64
	}{
		{"--speakers", u.Speakers, "", 0.01, 4096},
		{"--rate", u.FramesPerS, "", 0.01, 1000},
		{"--results", u.ResultsPerMin, "", 0.01, 6000},
		{"--length", u.LengthS, " s", 1, 30 * 24 * 3600},
		{"--busy", u.Busy, "", 0.01, 1},
		{"--cores", u.Cores, "", 1, 1024},
		{"--cell-servers", float64(u.Cell), "", 3, 1000},
		{"--slots", u.Slots, "", 1, 1e6},
		{"--results-age", u.AgeS, " s", 1, 365 * 24 * 3600},
	} {
		if !(f.v >= f.least && f.v <= f.most) {
			return fmt.Errorf("%s is %g%s, want %g to %g", f.name, f.v, f.unit, f.least, f.most)
		}
	}
	if u.ResultsPerMin/60 > u.FramesPerS {
		return errors.New("--results is more than a speaker of --rate has frames")
	}
	return nil
}

// What a session writes in its life besides its speakers' results and the renewals of its
// record. TestWritesOfASession counts both.
const (
	ResultsOfASession = 2 // owner and ended
	WritesOfASession  = 2 // of its record: one that makes it and one that deletes it
	WritesOfARenewal  = 1
)

// rates are what one session does each second, on average.
type rates struct {
	frames, lives, results, renewals, writes, reports float64
}

func (u Usage) rates() rates {
	r := rates{frames: u.Speakers * u.FramesPerS, lives: 1 / u.LengthS}
	r.results = u.Speakers*u.ResultsPerMin/60 + ResultsOfASession*r.lives
	r.renewals = 1 / worker.RecordRenewal.Seconds()
	r.writes = WritesOfARenewal*r.renewals + WritesOfASession*r.lives
	r.reports = 1/(worker.ReportEvery.Seconds()*u.Slots) + 2*r.lives // both its coming and its going change a load
	return r
}
