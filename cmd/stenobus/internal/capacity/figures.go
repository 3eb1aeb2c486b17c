// Package capacity reckons what a number of sessions needs, and what is full first, from
// what was measured and an assumed usage. It measures nothing.
package capacity

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Names of what was measured, with units. A frame's cost holds what goes with it:
// acknowledgements, results, pings.
const (
	MachineCores = "machine_cores"
	Sessions     = "sessions_that_speak"
	Copies       = "copies" // of each stream
	ShareMS      = "share_ms"
	FrameBytes   = "frame_bytes"

	GatewayFrame = "gateway_cpu_us_per_frame"
	WorkerFrame  = "worker_cpu_us_per_frame"
	BusFrame     = "bus_cpu_us_per_frame"     // of one server
	ClusterFrame = "cluster_cpu_us_per_frame" // of all servers, where a frame goes from one to another

	GatewayIO = "gateway_io_bytes_per_frame" // read and written
	ClusterIO = "cluster_io_bytes_per_frame"

	GatewayMemory = "gateway_kb_per_session"
	WorkerMemory  = "worker_kb_per_session"

	GatewayLife    = "gateway_cpu_us_per_open_and_end"
	WorkerLife     = "worker_cpu_us_per_open_and_end"
	ClusterLife    = "cluster_cpu_us_per_open_and_end"
	DispatcherLife = "dispatcher_cpu_us_per_open_and_end"

	Results      = "results_per_s_and_stream"
	ResultBus    = "cluster_cpu_us_per_result"
	ResultStored = "stored_bytes_per_result" // in one copy

	Writes     = "record_writes_per_s"
	WriteBus   = "cluster_cpu_us_per_record_write"
	RenewalCPU = "dispatcher_cpu_us_per_renewal"
)

// Figures are what was measured, by name.
type Figures map[string]float64

// Input is one figure and where it comes from.
type Input struct {
	Name string
	How  string // the command that measures it alone, of this program
}

// What opens and ends is silent: OpenFactor sessions for each that speaks, one in OpenEvery.
const (
	OpenFactor = 7
	OpenEvery  = 4 * time.Millisecond
)

// Inputs lists all that was measured, in the order in which tables number them.
func (f Figures) Inputs() []Input {
	const (
		fromCluster = "the same with --bus-servers 3"
		fromResults = "bench results --replicas 3"
		fromWrites  = "bench capacity"
	)
	speak := int(f[Sessions])
	fromPath := fmt.Sprintf("bench --no-pipe --sessions %d --ping-every 10s --final-every 500", speak)
	fromOpens := fmt.Sprintf("the same, --sessions %d --rate 0 --ramp %v", OpenFactor*speak, time.Duration(OpenFactor*speak)*OpenEvery)
	return []Input{
		{BusFrame, fromPath}, {GatewayFrame, fromCluster}, {WorkerFrame, fromCluster}, {ClusterFrame, fromCluster},
		{GatewayIO, fromCluster}, {ClusterIO, fromCluster}, {GatewayMemory, fromCluster}, {WorkerMemory, fromCluster},
		{GatewayLife, fromOpens}, {WorkerLife, fromOpens}, {ClusterLife, fromOpens}, {DispatcherLife, fromOpens},
		{Results, fromResults}, {ResultBus, fromResults}, {ResultStored, fromResults},
		{Writes, fromWrites}, {WriteBus, fromWrites}, {RenewalCPU, fromWrites},
	}
}

// Conditions are what the figures were measured under. They are in Figures too.
func Conditions() []string { return []string{MachineCores, Sessions, Copies, ShareMS, FrameBytes} }

// Validate tells which figure is missing, is none, or is not known here.
func (f Figures) Validate() error {
	known := Conditions()
	for _, in := range f.Inputs() {
		known = append(known, in.Name)
	}
	for _, name := range known {
		v, ok := f[name]
		switch {
		case !ok:
			return fmt.Errorf("figure %s is missing", name)
		case math.IsInf(v, 0) || !(v > 0) && !(v == 0 && name == ShareMS):
			return fmt.Errorf("figure %s is %v, want a number above 0", name, v)
		}
	}
	for name := range f {
		if !slices.Contains(known, name) {
			return fmt.Errorf("figure %s is not known: it is of another version", name)
		}
	}
	return nil
}
