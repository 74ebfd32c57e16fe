// Package doctortest has clients that sign wrongly, each with one mistake of those that package
// doctor knows. The tests of the doctor, and those of the whole program, send their requests.
//
//	client.go    Client: signs a request, in ways that are wrong; Server: what it takes for granted
//	mistake.go   Mistakes: what clients do, and what the doctor should say
//	cpu.go       ReportCPU: the CPU time of a benchmark
//
// It imports nothing but Go's standard library, so that a fault of package oauth1 is not a fault of
// both sides. Only tests import it.
package doctortest
