package audio

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// fit is the power of the sine at hz that is in pcm, and the power of all else.
func fit(pcm []int16, rate int, hz float64) (signal, rest float64) {
	// Least squares for a·sin + b·cos + c, by the normal equations of three unknowns.
	var m [3][4]float64
	rows := make([][4]float64, len(pcm))
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		row := [4]float64{s, c, 1, float64(v)}
		rows[i] = row
		for j := range 3 {
			for k := range 4 {
				m[j][k] += row[j] * row[k]
			}
		}
	}
	for j := range 3 {
		for k := range 3 {
			if k != j {
				f := m[k][j] / m[j][j]
				for l := j; l < 4; l++ {
					m[k][l] -= f * m[j][l]
				}
			}
		}
	}
	a, b, o := m[0][3]/m[0][0], m[1][3]/m[1][1], m[2][3]/m[2][2]
	for _, row := range rows {
		e := row[3] - a*row[0] - b*row[1] - o
		rest += e * e
	}
	return (a*a + b*b) / 2, rest / float64(len(pcm))
}

func decibels(ratio float64) float64 { return 10 * math.Log10(ratio) }

var ratePairs = []struct{ in, out int }{ // read only
	{8000, 16000}, {11025, 16000}, {22050, 16000}, {44100, 16000}, {48000, 16000},
	{96000, 16000}, {47999, 16000}, {1000, 16000}, {384000, 8000}, {16000, 48000}, {48000, 44100},
}

// samplesAt is how many samples of a rate show a sine: a quarter of a second, at a low one more.
func samplesAt(rate int) int { return max(rate/4, 4000) }

// A sweep through the passband, a sine at a time, must come out as it went in.
func TestResamplePassband(t *testing.T) {
	t.Parallel()
	const amplitude = 20000.0
	for _, p := range ratePairs {
		t.Run(fmt.Sprint(p.in, " to ", p.out), func(t *testing.T) {
			t.Parallel()
			lower := float64(min(p.in, p.out))
			for _, part := range []float64{0.01, 0.1, 0.3, 0.5, 0.7, 0.84} {
				hz := part * lower / 2
				got := newResampler(p.in, p.out).append(nil, sine(samplesAt(p.in), p.in, hz, amplitude))
				settled := got[len(got)/4:]
				signal, rest := fit(settled, p.out, hz)
				if snr := decibels(signal / rest); snr < 60 {
					t.Errorf("%.0f Hz: signal to noise %.1f dB, want 60", hz, snr)
				}
				if level := decibels(signal / (amplitude * amplitude / 2)); math.Abs(level) > 0.1 {
					t.Errorf("%.0f Hz: level changed by %.2f dB", hz, level)
				}
			}
		})
	}
}

// What lies above half the new rate must vanish, or it would fold back into speech.
func TestResampleAliases(t *testing.T) {
	t.Parallel()
	const amplitude = 30000.0
	for _, p := range ratePairs {
		if p.in <= p.out {
			continue
		}
		t.Run(fmt.Sprint(p.in, " to ", p.out), func(t *testing.T) {
			t.Parallel()
			for _, part := range []float64{1.0, 1.05, 1.3, 1.99, 2.5} {
				hz := part * float64(p.out) / 2
				if hz >= float64(p.in)/2 {
					continue
				}
				got := newResampler(p.in, p.out).append(nil, sine(samplesAt(p.in), p.in, hz, amplitude))
				// A sample is rounded to whole numbers, which is noise of a twelfth.
				if left := decibels((power(got[len(got)/4:]) + 1e-9) / (amplitude * amplitude / 2)); left > -60 {
					t.Errorf("%.0f Hz comes through at %.1f dB, want -60", hz, left)
				}
			}
		})
	}
}

// Pieces must give, sample for sample, what the whole gives, and no more or less time.
func TestResamplePieces(t *testing.T) {
	t.Parallel()
	for _, p := range ratePairs {
		t.Run(fmt.Sprint(p.in, " to ", p.out), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(p.in)))
			in := make([]float32, p.in)
			for i := range in {
				in[i] = float32(rng.IntN(65536) - 32768)
			}
			whole := newResampler(p.in, p.out).append(nil, in)
			r := newResampler(p.in, p.out)
			var pieces []int16
			for fed := 0; fed < len(in); {
				n := min(1+rng.IntN(2*p.in/50), len(in)-fed)
				pieces = r.append(pieces, in[fed:fed+n])
				fed += n
				if want := float64(fed) * float64(p.out) / float64(p.in); math.Abs(float64(len(pieces))-want) > 1 {
					t.Fatalf("%d samples after %d, want %.1f", len(pieces), fed, want)
				}
			}
			if !slices.Equal(whole, pieces) {
				t.Error("pieces differ from the whole")
			}
		})
	}
}

// A filter overshoots at the edges of what is loud; that must not wrap round.
func TestResampleLoud(t *testing.T) {
	t.Parallel()
	in := make([]float32, 4800)
	for i := range in {
		in[i] = math.MaxInt16
		if i/480%2 == 0 {
			in[i] = math.MinInt16
		}
	}
	out := newResampler(48000, 16000).append(nil, in)
	if !slices.Contains(out, math.MaxInt16) || !slices.Contains(out, math.MinInt16) {
		t.Fatal("nothing overshoots, so this tests nothing")
	}
	const late, half = halfWidth, 160
	for i := late; i < len(out); i++ {
		inside := (i - late) % half
		if up := (i-late)/half%2 == 1; inside > 5 && inside < half-5 && up != (out[i] > 0) {
			t.Fatalf("sample %d is %d", i, out[i])
		}
	}
}
