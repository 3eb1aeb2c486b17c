package audio

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var ogg = Format{Encoding: OggOpus} // read only

// However a file is cut, what is heard is the same.
func TestOggSlicing(t *testing.T) {
	t.Parallel()
	file := readSample(t, "pause.ogg")
	whole, errs := feed(mustDecoder(t, ogg, 16000, newPion), file, every(len(file)))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	// The file says that 312 samples at 48 kHz come before the sound.
	packets := packetsOf(t, file)
	if want := len(packets)*320 - 312/3; len(whole) != want {
		t.Errorf("%d samples, want %d", len(whole), want)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for name, cut := range map[string]func() int{
		"1": every(1), "7": every(7), "200": every(200), "4096": every(4096),
		"random": func() int { return rng.IntN(3000) },
	} {
		got, errs := feed(mustDecoder(t, ogg, 16000, newPion), file, cut)
		if len(errs) > 0 || !slices.Equal(got, whole) {
			t.Errorf("cut %s: %d samples, want %d; errors %v", name, len(got), len(whole), errs)
		}
	}
}

// stream is a stream with pages of most segments each, so that packets go over several.
func stream(tb testing.TB, most int) ([]byte, []OpusPacket) {
	packets := packetsOf(tb, readSample(tb, "thanks.ogg"))[:100]
	m := newMuxer(5)
	m.head(312, 0, 1)
	m.tags(100_000)
	for i, p := range packets {
		data := slices.Clone(p.Data)
		if i%10 == 0 { // with padding: one frame, the rest of the packet is zeros
			data = padded(data)
		}
		m.packet(0, most, data)
	}
	return m.Bytes(), packets
}

// padded gives a packet of one frame 700 bytes of padding.
func padded(p []byte) []byte {
	const code3, paddingFlag = 3, 0x40
	out := []byte{p[0] | code3, paddingFlag | 1, 255, 255, 700 - 2*254}
	out = append(out, p[1:]...)
	return append(out, make([]byte, 700)...)
}

func TestOggPacketsOverPages(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 2, 255} {
		b, packets := stream(t, most)
		pcm, errs := feed(mustDecoder(t, ogg, 16000, newLibopus), b, every(61))
		if want := len(packets)*320 - 104; len(errs) > 0 || len(pcm) != want {
			t.Errorf("%d segments a page: %d samples, want %d; errors %v", most, len(pcm), want, errs)
		}
	}
}

func TestOggMidJoin(t *testing.T) {
	t.Parallel()
	file := readSample(t, "pause.ogg")
	whole, _ := feed(mustDecoder(t, ogg, 16000, newLibopus), file, every(500))
	for _, from := range []int{1, 50, 5000, 12345, len(file) / 2} {
		got, errs := feed(mustDecoder(t, ogg, 16000, newLibopus), file[from:], every(200))
		if len(errs) > 0 {
			t.Fatalf("from %d: %v", from, errs)
		}
		// The decoder has to find its way for some packets; later on it hears the same.
		const end = 8000
		if len(got) < end {
			t.Fatalf("from %d: %d samples", from, len(got))
		}
		diff := make([]int16, end)
		for i := range diff {
			diff[i] = got[len(got)-end+i] - whole[len(whole)-end+i]
		}
		if snr := decibels((power(whole[len(whole)-end:]) + 1) / (power(diff) + 1)); snr < 20 {
			t.Errorf("from %d: signal to noise %.1f dB, want 20", from, snr)
		}
	}
	b, packets := stream(t, 1)
	at := strings.Index(string(b), capture+"\x00\x01") // amid a packet
	got, errs := feed(mustDecoder(t, ogg, 16000, newPion), b[at:], every(100))
	if len(errs) > 0 || len(got)%320 != 0 || len(got) < (len(packets)-20)*320 {
		t.Errorf("amid a packet: %d samples, errors %v", len(got), errs)
	}
}

func TestOggDamage(t *testing.T) {
	t.Parallel()
	packets := packetsOf(t, readSample(t, "thanks.ogg"))[:50]
	build := func(change func(i int, m *muxer, p []byte)) []byte {
		m := newMuxer(5)
		m.head(0, 0, 1)
		m.tags(10)
		for i, p := range packets {
			change(i, m, p.Data)
		}
		return m.Bytes()
	}
	for name, c := range map[string]struct {
		change func(m *muxer, p []byte)
		lost   int
		err    string
	}{
		"none": {func(m *muxer, p []byte) { m.packet(0, 255, p) }, 0, ""},
		"a byte": {func(m *muxer, p []byte) {
			m.packet(0, 255, p)
			m.Bytes()[m.Len()-1] ^= 1
		}, 1, "damaged Ogg page"},
		"a length": {func(m *muxer, p []byte) {
			at := m.Len()
			m.packet(0, 255, p)
			m.Bytes()[at+headerBytes] = 255
		}, 1, "damaged Ogg page"},
		"a page is lost": {func(m *muxer, _ []byte) { m.sequence++ }, 1, "page 12 of the Ogg stream comes where page 11 should"},
		"the end is lost": {func(m *muxer, p []byte) {
			m.packet(0, 255, p)
			m.Truncate(m.Len() - 3)
		}, 1, "damaged Ogg page"},
		"another version": {func(m *muxer, p []byte) {
			at := m.Len()
			m.packet(0, 255, p)
			b := m.Bytes()[at:]
			b[4] = 1
			clear(b[22:26])
			binary.LittleEndian.PutUint32(b[22:], m.table.ogg(b))
		}, 1, "damaged Ogg page"},
		"a packet loses its middle": {func(m *muxer, p []byte) {
			before := m.Len()
			m.packet(0, 1, append(bytes.Clone(p), make([]byte, 600)...)) // which decodes with any number of zeros
			b := bytes.Clone(m.Bytes()[before:])
			m.Truncate(before)
			const page = headerBytes + 1 + 255
			m.Write(b[:page])
			m.Write(b[2*page:])
		}, 1, "page 13 of the Ogg stream comes where page 12 should"},
		"bytes between": {func(m *muxer, p []byte) {
			m.WriteString("Hello OggOggS, Ogg")
			m.packet(0, 255, p)
		}, 0, "bytes between Ogg pages"},
		"an empty packet": {func(m *muxer, p []byte) {
			m.packet(0, 255, p)
			m.packet(0, 255, nil)
		}, 0, "opus packet is empty"},
		"another stream between": {func(m *muxer, p []byte) {
			other := newMuxer(9)
			other.packet(0, 255, p)
			m.Write(other.Bytes())
			m.packet(0, 255, p)
		}, 0, ""},
		"comments again": {func(m *muxer, p []byte) {
			m.packet(0, 255, p)
			m.tags(300_000)
		}, 0, ""},
		"a huge packet": {func(m *muxer, p []byte) {
			m.packet(0, 255, make([]byte, 70_000))
			m.packet(0, 255, p)
		}, 0, "more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := build(func(i int, m *muxer, p []byte) {
				if i == 9 {
					c.change(m, p)
				} else {
					m.packet(0, 255, p)
				}
			})
			pcm, errs := feed(mustDecoder(t, ogg, 16000, newPion), b, every(len(b)))
			if want := (len(packets) - c.lost) * 320; len(pcm) != want {
				t.Errorf("%d samples, want %d", len(pcm), want)
			}
			if c.err == "" && len(errs) > 0 || c.err != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.err)) {
				t.Errorf("errors %v, want %q", errs, c.err)
			}
		})
	}
}

func TestOggHeads(t *testing.T) {
	t.Parallel()
	packets := packetsOf(t, readSample(t, "thanks.ogg"))[:50]
	play := func(m *muxer) {
		for _, p := range packets {
			m.packet(0, 255, p.Data)
		}
	}
	for name, end := range map[string]func(m *muxer){
		"ended":       func(m *muxer) { m.page(flagLast, nil, nil) },
		"not ended":   func(*muxer) {},
		"in a packet": func(m *muxer) { m.page(0, []byte{255}, make([]byte, 255)) },
	} {
		chain := newMuxer(1)
		chain.head(480, 0, 1)
		chain.tags(0)
		play(chain)
		end(chain)
		chain.serial, chain.sequence = 2, 0
		chain.head(960, 0, 2)
		chain.tags(0)
		play(chain)
		pcm, errs := feed(mustDecoder(t, ogg, 16000, newPion), chain.Bytes(), every(99))
		if want := 2*50*320 - 160 - 320; len(errs) > 0 || len(pcm) != want {
			t.Errorf("a chain, %s: %d samples, want %d; errors %v", name, len(pcm), want, errs)
		}
	}

	loud, plain := newMuxer(1), newMuxer(1)
	loud.head(0, 6*256, 1)
	play(loud)
	plain.head(0, 0, 1)
	play(plain)
	a, _ := feed(mustDecoder(t, ogg, 16000, newPion), loud.Bytes(), every(99))
	b, _ := feed(mustDecoder(t, ogg, 16000, newPion), plain.Bytes(), every(99))
	if gain := decibels(power(a) / power(b)); gain < 5.9 || gain > 6.1 {
		t.Errorf("a gain of 6 dB is %.2f dB", gain)
	}

	for want, head := range map[string]func(m *muxer){
		"channels is 6":      func(m *muxer) { m.head(0, 0, 6) },
		"OpusHead of 9":      func(m *muxer) { m.packet(flagFirst, 255, []byte("OpusHead\x01")) },
		"does not hold Opus": func(m *muxer) { m.packet(flagFirst, 255, []byte("\x01vorbis")) },
	} {
		m := newMuxer(1)
		head(m)
		play(m)
		pcm, errs := feed(mustDecoder(t, ogg, 16000, newPion), m.Bytes(), every(99))
		if len(pcm) > 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %d samples, errors %v", want, len(pcm), errs)
		}
	}
}

// Through must say how far all is out: never more, and with whole pages no less.
func TestOggThrough(t *testing.T) {
	t.Parallel()
	d := mustDecoder(t, ogg, 16000, newPion)
	m := newMuxer(1)
	m.head(0, 0, 1)
	head := m.Len()
	p := packetsOf(t, readSample(t, "thanks.ogg"))[50].Data
	m.packet(0, 255, p)
	m.packet(0, 1, padded(p)) // over three pages
	b := m.Bytes()
	type step struct {
		data string
		want uint64
	}
	single := head + headerBytes + 1 + len(p) // the end of the page with one packet
	first := single + headerBytes + 1 + 255   // the end of the first page of the other packet
	second := first + headerBytes + 1 + 255   // and of the second
	for i, s := range []step{
		{string(b[:10]), 0},
		{string(b[10:head]), 20},
		{"", 30},
		{string(b[head : head+1]), 30},
		{"", 30},
		{string(b[head+1 : single]), 60},
		{string(b[single:first]), 60}, // whole pages, but what they carry goes on
		{string(b[first:second]), 60},
		{"", 60},
		{string(b[second:]), 100},
		{"Og", 100},
		{"x", 120},
	} {
		c, err := d.Decode(uint64(i+1)*10, -1, 0, []byte(s.data))
		if c.Through != s.want || err != nil && i != 11 {
			t.Errorf("step %d: through %d, want %d; error %v", i, c.Through, s.want, err)
		}
	}
}

func TestOggThatIsNot(t *testing.T) {
	t.Parallel()
	d := mustDecoder(t, ogg, 16000, newPion)
	_, errs := feed(d, make([]byte, 1_000_000), every(1000))
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "no Ogg page in") {
		t.Errorf("errors %v", errs)
	}
}

// Neither a page that never ends nor a packet that never does may pile up bytes, nor
// may one frame become hours.
func TestOggIsBounded(t *testing.T) {
	t.Parallel()
	d := mustDecoder(t, ogg, 16000, newPion)
	m := newMuxer(1)
	m.head(0, 0, 1)
	m.packet(0, 255, nil)
	m.page(0, []byte{255}, make([]byte, 255))
	for range maxSpan/headerBytes + 100 {
		m.page(flagContinued, nil, nil)
	}
	_, errs := feed(d, m.Bytes(), every(30))
	frames := d.frames.(*oggStream)
	if len(errs) != 2 || len(frames.ends) > 2 || cap(frames.demux.pages.buf) > 1<<18 || frames.demux.held() < int64(m.Len()-5) {
		t.Errorf("%d frames held, errors %v", len(frames.ends), errs)
	}

	part := []byte(capture[:2])
	for n := range uint64(1000) { // frames with nothing in them, in the middle of a page
		if _, err := d.Decode(1<<20+n, -1, 0, part); err != nil {
			t.Fatal(err)
		}
		part = nil
	}
	if len(frames.ends) > 3 {
		t.Errorf("%d frames held", len(frames.ends))
	}

	m = newMuxer(1)
	m.head(0, 0, 1)
	const silence = 3<<3 | 1 // two frames of 60 ms with nothing in them
	lacing := bytes.Repeat([]byte{1}, 255)
	body := bytes.Repeat([]byte{silence}, 255)
	for range 30 {
		m.page(0, lacing, body)
	}
	d = mustDecoder(t, ogg, 16000, newLibopus)
	c, err := d.Decode(1, -1, 0, m.Bytes())
	if got := time.Duration(len(c.PCM)) * time.Second / 16000; err == nil || got > maxChunk+time.Second || got < maxChunk {
		t.Errorf("%v of audio, error %v", got, err)
	}
}
