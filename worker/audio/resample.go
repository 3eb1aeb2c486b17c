package audio

import "math"

// No maintained resampler in Go was found that both filters before it leaves samples
// out and takes a stream in pieces: beep interpolates without a filter, and others are
// not to be had. This is the textbook polyphase filter: a sinc under a Kaiser window.
const (
	stopband   = 80.0                      // dB by which aliases are held down
	passband   = 0.85                      // kept, of half the lower rate; above it the filter falls off
	halfWidth  = 34                        // of the filter, in samples of the lower rate, by Kaiser's formula
	kaiserBeta = 0.1102 * (stopband - 8.7) // Kaiser's formula, too
	maxPhases  = 256                       // rows of the table; phases between two rows are interpolated
	cutoff     = (passband + 1) / 2        // middle of the falling part, of half the lower rate
)

// resampler changes the rate of a stream that comes in pieces. Its output is as long
// as the input to within a sample, and late by halfWidth samples of the lower rate
// (2.1 ms at 16 kHz).
type resampler struct {
	in, out int // rates in lowest terms
	taps    int
	rows    int
	table   []float32 // rows+1 times taps: the filter at each phase, the last row being the first a sample later

	pending []float32 // taps-1 samples of the past, then what is new
	next    int       // index in pending of the oldest sample under the next output's filter
	phase   int       // of the next output, in 1/out of an input sample
}

// newResampler returns nil for equal rates; a nil resampler copies.
func newResampler(in, out int) *resampler {
	if in == out {
		return nil
	}
	g := gcd(in, out)
	r := &resampler{in: in / g, out: out / g}
	// Samples of the input for each of the lower rate.
	stretch := max(1, float64(in)/float64(out))
	r.taps = 2*int(math.Ceil(halfWidth*stretch)) + 1
	r.rows = min(r.out, maxPhases)
	r.table = make([]float32, (r.rows+1)*r.taps)
	for row := range r.rows + 1 {
		r.fill(r.table[row*r.taps:][:r.taps], float64(row)/float64(r.rows), stretch)
	}
	r.pending = make([]float32, r.taps-1)
	return r
}

// fill computes the filter for outputs that lie frac of an input sample after the
// middle tap.
func (r *resampler) fill(row []float32, frac, stretch float64) {
	middle := float64(r.taps / 2)
	norm := bessel(kaiserBeta)
	var sum float64
	for i := range row {
		x := (float64(i) - middle - frac) / stretch
		w := x / halfWidth
		h := 0.0
		if w > -1 && w < 1 {
			h = sinc(cutoff*x) * bessel(kaiserBeta*math.Sqrt(1-w*w)) / norm
		}
		row[i] = float32(h)
		sum += h
	}
	for i := range row {
		row[i] = float32(float64(row[i]) / sum) // so that a constant stays what it is, whatever the phase
	}
}

// append resamples in and appends what is ready to out.
func (r *resampler) append(out []int16, in []float32) []int16 {
	if r == nil {
		for _, v := range in {
			out = append(out, toInt16(v))
		}
		return out
	}
	r.pending = append(r.pending, in...)
	for r.next+r.taps <= len(r.pending) {
		out = append(out, toInt16(r.at(r.pending[r.next:][:r.taps])))
		r.phase += r.in
		r.next += r.phase / r.out
		r.phase %= r.out
	}
	// A filter is longer than the step from one output to the next, so next lies in pending.
	r.pending = r.pending[:copy(r.pending, r.pending[r.next:])]
	r.next = 0
	return out
}

// at is the output at the present phase, with the samples under its filter.
func (r *resampler) at(samples []float32) float32 {
	position := r.phase * r.rows
	row, rest := position/r.out, position%r.out
	y := dot(r.table[row*r.taps:][:r.taps], samples)
	if rest == 0 {
		return y
	}
	z := dot(r.table[(row+1)*r.taps:][:r.taps], samples)
	return y + (z-y)*float32(rest)/float32(r.out)
}

// dot keeps four sums, which is what lets the processor work on four products at once.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

func toInt16(v float32) int16 {
	r := math.RoundToEven(float64(v))
	return int16(min(max(r, math.MinInt16), math.MaxInt16))
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel is the modified Bessel function of order 0, by its series.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= (x / (2 * k)) * (x / (2 * k))
		sum += term
	}
	return sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
