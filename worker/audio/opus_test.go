package audio

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// pcmOf decodes bare packets without a loss.
func pcmOf(tb testing.TB, packets []OpusPacket, rate int, codec newCodec) []int16 {
	tb.Helper()
	d := mustDecoder(tb, Format{Encoding: Opus}, rate, codec)
	defer d.Close()
	var pcm []int16
	var at time.Duration
	for i, p := range packets {
		c, err := d.Decode(uint64(i+1), int64(i), at, p.Data)
		if err != nil || c.Through != uint64(i+1) || c.Concealed != 0 {
			tb.Fatalf("packet %d: through %d, concealed %v, error %v", i, c.Through, c.Concealed, err)
		}
		pcm = append(pcm, c.PCM...)
		at += p.Duration
	}
	return pcm
}

func TestOpusRates(t *testing.T) {
	t.Parallel()
	packets := packetsOf(t, readSample(t, "thanks.ogg"))
	for name, codec := range codecs() {
		for _, rate := range []int{8000, 12000, 16000, 22050, 24000, 44100, 48000} {
			pcm := pcmOf(t, packets, rate, codec)
			want := len(packets) * rate / 50
			if len(pcm) < want-1 || len(pcm) > want {
				t.Errorf("%s: %d samples at %d, want %d", name, len(pcm), rate, want)
			}
			if p := power(pcm); p < 1e5 {
				t.Errorf("%s: power %.0f at %d: nothing is heard", name, p, rate)
			}
		}
	}
}

// Two decoders by different hands must hear the same.
func TestCodecsAgree(t *testing.T) {
	t.Parallel()
	packets := packetsOf(t, readSample(t, "story.ogg"))
	ours, theirs := pcmOf(t, packets, 16000, newPion), pcmOf(t, packets, 16000, newLibopus)
	diff := make([]int16, len(ours))
	for i := range ours {
		diff[i] = ours[i] - theirs[i]
	}
	if snr := decibels(power(theirs) / power(diff)); snr < 30 {
		t.Errorf("they differ: signal to noise %.1f dB, want 30", snr)
	}
}

func TestOpusConcealment(t *testing.T) {
	t.Parallel()
	const at = 60 // a packet in the middle of a word
	packets := packetsOf(t, readSample(t, "thanks.ogg"))[:at+20]
	for name, c := range map[string]struct {
		step int64 // from one packet number to the next
		at   time.Duration
		want time.Duration
	}{
		"no loss":             {1, 20 * ms, 0},
		"one":                 {2, 40 * ms, 20 * ms},
		"three":               {4, 80 * ms, 60 * ms},
		"clock says less":     {4, 50 * ms, 30 * ms},
		"clock is odd":        {4, 51 * ms, 30 * ms},
		"clock stands":        {4, 0, 0},
		"a pause, no loss":    {1, 5000 * ms, 0},
		"a loss in a pause":   {2, 5000 * ms, 20 * ms},
		"many":                {100, 2000 * ms, 120 * ms},
		"all there ever were": {1 << 62, 1 << 62, 120 * ms},
		"again":               {0, 20 * ms, 0},
		"an earlier one":      {-3, 20 * ms, 0},
		"no number":           {-at, 100 * ms, 0}, // -1
	} {
		for codecName, codec := range codecs() {
			t.Run(name+" "+codecName, func(t *testing.T) {
				t.Parallel()
				d := mustDecoder(t, Format{Encoding: Opus}, 16000, codec)
				for i, p := range packets[:at] {
					if _, err := d.Decode(uint64(i), int64(i), time.Duration(i)*20*ms, p.Data); err != nil {
						t.Fatal(err)
					}
				}
				got, err := d.Decode(at, at-1+c.step, (at-1)*20*ms+c.at, packets[at].Data)
				if err != nil || got.Concealed != c.want {
					t.Fatalf("concealed %v, error %v; want %v", got.Concealed, err, c.want)
				}
				head := samplesIn(c.want, 16000)
				if len(got.PCM) != head+320 {
					t.Errorf("%d samples, want %d", len(got.PCM), head+320)
				}
				if heard := power(got.PCM[:head]) > 0; codecName == "libopus" && c.want > 0 && !heard {
					t.Error("libopus conceals with silence")
				}
			})
		}
	}
}

// A packet that nobody could decode is a lost one when the next comes.
func TestOpusGarbage(t *testing.T) {
	t.Parallel()
	packets := packetsOf(t, readSample(t, "thanks.ogg"))
	for name, bad := range map[string][]byte{
		"empty":     nil,
		"no count":  {0xff},
		"too long":  {31<<3 | 3, 63, 1, 2, 3},
		"odd pair":  {31<<3 | 1, 1, 2, 3, 4, 5},
		"long size": {31<<3 | 2, 251, 255, 0},
	} {
		for codecName, codec := range codecs() {
			t.Run(name+" "+codecName, func(t *testing.T) {
				t.Parallel()
				d := mustDecoder(t, Format{Encoding: Opus}, 16000, codec)
				for i, p := range packets[:60] {
					data := p.Data
					if i == 50 {
						data = bad
					}
					c, err := d.Decode(uint64(i), int64(i), time.Duration(i)*20*ms, data)
					if (err != nil) != (i == 50) || c.Through != uint64(i) {
						t.Fatalf("packet %d: through %d, error %v", i, c.Through, err)
					}
					if err != nil && (len(c.PCM) != 0 || !strings.Contains(err.Error(), "opus packet")) {
						t.Errorf("%d samples with error %q", len(c.PCM), err)
					}
					if i == 51 && c.Concealed != 20*ms {
						t.Errorf("concealed %v", c.Concealed)
					}
				}
			})
		}
	}
}

// What calls itself opus may be an Ogg stream.
func TestOpusThatIsOgg(t *testing.T) {
	t.Parallel()
	file := readSample(t, "thanks.ogg")
	want, _ := feed(mustDecoder(t, Format{Encoding: OggOpus}, 16000, newPion), file, every(1000))
	got, errs := feed(mustDecoder(t, Format{Encoding: Opus}, 16000, newPion), file, every(1000))
	if len(errs) > 0 || len(want) < 16000 || !bytes.Equal(bytesOf(got...), bytesOf(want...)) {
		t.Errorf("%d samples, want the %d of ogg-opus; errors %v", len(got), len(want), errs)
	}
}
