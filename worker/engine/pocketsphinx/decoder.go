package pocketsphinx

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"unsafe"

	"github.com/ebitengine/purego"
)

const (
	rate         = 16000 // samples/s
	frameSamples = rate / 100
	// The voice detector needs startFrames of speech to believe in it, and hands on
	// preFrames from before; pauseFrames of silence end an utterance.
	startFrames = 10
	preFrames   = 20
	pauseFrames = 50
)

var errDecoder = errors.New("pocketsphinx: the decoder failed")

// decoder is one recogniser in C memory. It is used by one goroutine at a time.
type decoder struct {
	lib    *library
	ps     unsafe.Pointer
	fresh  channel // of a decoder that has heard nothing
	open   bool    // an utterance is under way
	failed bool    // a C function said so: it is not used again
}

// channel is a decoder's idea of the microphone and line, in a copy.
type channel struct {
	mean, sum []float32
	frames    int32
}

// newDecoder takes some 0.4 s of CPU time and 95 MB.
func newDecoder(lib *library, m model) (*decoder, error) {
	argv := arguments(m)
	pointers := make([]*byte, len(argv))
	for i, a := range argv {
		pointers[i] = unsafe.SliceData(append([]byte(a), 0))
	}
	args := lib.parse(nil, lib.args(), int32(len(pointers)), unsafe.Pointer(unsafe.SliceData(pointers)), 0)
	runtime.KeepAlive(pointers)
	if args == nil {
		return nil, errors.New("pocketsphinx: the library refused its configuration")
	}
	defer lib.freeArgs(args) // the decoder keeps a reference of its own
	ps := lib.init(args)
	if ps == nil {
		return nil, errors.New("pocketsphinx: the library could not load the model in " + m.dir + "; " + install)
	}
	d := &decoder{lib: lib, ps: ps}
	if c := d.channel(); c != nil {
		d.fresh = channel{slices.Clone(unsafe.Slice(c.mean, c.size)), slices.Clone(unsafe.Slice(c.sum, c.size)), c.frames}
	}
	return d, nil
}

func arguments(m model) []string {
	return []string{
		"stenobus",
		"-hmm", m.acoustic, "-lm", m.language, "-dict", m.dictionary,
		"-samprate", strconv.Itoa(rate),
		// A second pass over the whole utterance gains little and holds the final
		// back by a second.
		"-fwdflat", "no",
		"-bestpath", "yes", // word posteriors come from it
		"-vad_startspeech", strconv.Itoa(startFrames),
		"-vad_prespeech", strconv.Itoa(preFrames),
		"-vad_postspeech", strconv.Itoa(pauseFrames),
	}
}

// channel returns the running mean, nil where memory does not look as the header of
// the library that we know says.
func (d *decoder) channel() *cmn {
	f := d.lib.feat(d.ps)
	const cepstra, window = 13, 3 // of the model, so that they stand where they are to be sought
	if f == nil || f.cepSize != cepstra || f.streams != 1 || f.window != window || f.cmnStruct == nil {
		return nil
	}
	if c := f.cmnStruct; c.size == cepstra && c.mean != nil && c.sum != nil {
		return c
	}
	return nil
}

// reset makes the decoder as good as new for another speaker. False means that it
// must be freed instead.
func (d *decoder) reset() bool {
	d.abandon()
	c := d.channel()
	if d.failed || c == nil {
		return false
	}
	copy(unsafe.Slice(c.mean, c.size), d.fresh.mean)
	copy(unsafe.Slice(c.sum, c.size), d.fresh.sum)
	c.frames = d.fresh.frames
	return true
}

// begin starts a stream: what was learnt of noise is forgotten, and time is counted
// from here, silence included.
func (d *decoder) begin() error {
	if d.lib.newStream(d.ps) < 0 {
		return d.fail()
	}
	return d.start()
}

// start starts an utterance.
func (d *decoder) start() error {
	if d.lib.startUtt(d.ps) < 0 {
		return d.fail()
	}
	d.open = true
	return nil
}

// hear searches some audio. It does not allocate.
func (d *decoder) hear(pcm []int16) error {
	if len(pcm) == 0 {
		return nil
	}
	const search, partial = 0, 0
	n, _, _ := purego.SyscallN(d.lib.process, uintptr(d.ps),
		uintptr(unsafe.Pointer(unsafe.SliceData(pcm))), uintptr(len(pcm)), search, partial)
	if int32(n) < 0 {
		return d.fail()
	}
	return nil
}

// speaking tells whether the voice detector hears somebody.
func (d *decoder) speaking() bool {
	n, _, _ := purego.SyscallN(d.lib.inSpeech, uintptr(d.ps))
	return byte(n) != 0
}

// text is the best hypothesis.
func (d *decoder) text() string { return clean(d.lib.hyp(d.ps, nil)) }

// end finalises the utterance; text and words are then final.
func (d *decoder) end() error {
	d.open = false
	if d.lib.endUtt(d.ps) < 0 {
		return d.fail()
	}
	return nil
}

// abandon ends an utterance that nobody wants.
func (d *decoder) abandon() {
	if d.open && !d.failed {
		_ = d.end() // a decoder that failed is marked as such
	}
}

// segment is a word with its place in the stream, in samples since begin.
type segment struct {
	text        string
	first, last int64
	posterior   float64
}

// words lists the words of the finalised utterance.
func (d *decoder) words() []segment {
	logs := d.lib.logmath(d.ps)
	var words []segment
	for seg := d.lib.segments(d.ps); seg != nil; seg = d.lib.next(seg) {
		text := clean(d.lib.word(seg))
		if text == "" {
			continue
		}
		var first, last int32
		d.lib.segFrames(seg, unsafe.Pointer(&first), unsafe.Pointer(&last))
		posterior := d.lib.exp(logs, d.lib.segProb(seg, nil, nil, nil))
		words = append(words, segment{
			text: text, first: int64(first) * frameSamples, last: (int64(last) + 1) * frameSamples,
			posterior: min(max(posterior, 0), 1),
		})
	}
	return words
}

func (d *decoder) fail() error {
	d.failed = true
	return errDecoder
}

func (d *decoder) free() { d.lib.free(d.ps) }
