package subjects

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

const splitWord = "of" // in the token that names a part, as in 2of3

// MaxSplit is the most streams that the results log may be split over. Each is a raft
// group of its own in a cluster.
const MaxSplit = 64

// Split is over how many streams the results log of a bus is split, by a hash of the
// session's id; 0 and 1: it is not split. Unsplit it is one stream on AllResults. Split over N each
// of its subjects has the token <i>of<N> before the id's. That N stands in every name on
// purpose: who takes another one for true writes where no stream listens, is told so, and
// can never write into a log that others do not read.
type Split int

// Count is the number of streams.
func (n Split) Count() int { return max(int(n), 1) }

func (n Split) valid() bool { return n >= 0 && n <= MaxSplit }

// normal is 0 where the log is not split, so that messages need not say it.
func (n Split) normal() Split {
	if n == 1 {
		return 0
	}
	return n
}

// part is which stream has a session, from 1: the FNV-1a hash, of 32 bits, of the id's
// token, modulo the number of streams, plus 1.
func (n Split) part(id SessionID) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id.Token())) // a hash takes everything
	return int(h.Sum32()%uint32(n.Count())) + 1
}

// prefix is what the subjects of one part begin with.
func (n Split) prefix(part int) string {
	if n.Count() == 1 {
		return resultPrefix
	}
	return resultPrefix + strconv.Itoa(part) + splitWord + strconv.Itoa(n.Count()) + "."
}

// stored is what the stream of one part stores.
func (n Split) stored(part int) string { return n.prefix(part) + "*" }

// stream names the stream of one part. The first has the same name however the log is
// split, so that whoever creates or checks it finds out who thinks otherwise.
func (n Split) stream(part int) string {
	if part == 1 {
		return ResultsStream
	}
	return ResultsStream + "_" + strconv.Itoa(part)
}

// LogPlace is where the results log of a session is.
type LogPlace struct {
	Subject string `json:"subject"` // that its worker writes to
	Stream  string `json:"stream"`  // that stores it
}

// Place is where the results log of a session is.
func (n Split) Place(id SessionID) LogPlace {
	part := n.part(id)
	return LogPlace{Subject: n.prefix(part) + id.Token(), Stream: n.stream(part)}
}

// splitOf reads from the subjects of the first stream how the log is split.
func splitOf(stored []string) (Split, error) {
	if len(stored) == 1 {
		_, text, _ := strings.Cut(stored[0], splitWord)
		n, _ := strconv.Atoi(strings.TrimSuffix(text, ".*"))
		for _, s := range []Split{0, Split(n).normal()} {
			if s.valid() && stored[0] == s.stored(1) {
				return s, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: %s stores %s, which is no results log", ErrIncompatible, ResultsStream, strings.Join(stored, " "))
}

// ParseResult reads the session out of a subject of its results log, however that is
// split, if the session belongs on that subject.
func ParseResult(subject string) (SessionID, error) {
	rest, ok := strings.CutPrefix(subject, resultPrefix)
	part, token, split := strings.Cut(rest, ".")
	if !ok || !split {
		return parseSession(subject, resultPrefix)
	}
	id, err := ParseSessionToken(token)
	if err != nil {
		return "", err
	}
	_, count, _ := strings.Cut(part, splitWord)
	n, _ := strconv.Atoi(count)
	if n < 2 || n > MaxSplit || Split(n).Place(id).Subject != subject {
		return "", fmt.Errorf("%w: %q is not where the results of %q are", ErrSubject, subject, string(id))
	}
	return id, nil
}
