package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Small requests at a steady rate. A request's latency counts from the moment when it was due.
type small struct {
	mutex   sync.Mutex
	latency []time.Duration
	failed  int
}

func beginSmall(address, token string, rate int) *small {
	it := &small{}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 30 * time.Second}
	request, err := http.NewRequest("GET", "http://"+address+"/small", nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+token)
	go func() {
		due := time.Now()
		for {
			due = due.Add(time.Second / time.Duration(rate))
			time.Sleep(time.Until(due))
			go it.send(client, request.Clone(request.Context()), due)
		}
	}()
	return it
}

func (it *small) send(client *http.Client, request *http.Request, due time.Time) {
	response, err := client.Do(request)
	fine := err == nil && response.StatusCode == http.StatusOK
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	it.mutex.Lock()
	defer it.mutex.Unlock()
	it.latency = append(it.latency, time.Since(due))
	if !fine {
		it.failed++
	}
}

// measure prints the latencies of the requests in the next while, and the processor time of the sidecar.
func (it *small) measure(name string, sidecar *sidecar, while time.Duration) {
	it.take()
	processor := sidecar.processor()
	time.Sleep(while)
	latency, failed := it.take()
	used := sidecar.processor() - processor
	if len(latency) == 0 {
		log.Fatalf("no small request was answered in the phase %q", name)
	}
	ms := func(part float64) float64 { return float64(quantile(latency, part).Microseconds()) / 1000 }
	fmt.Printf("small requests, %-7s %5d, %d failed, p50 %.1f ms, p99 %.1f ms, most %.1f ms; the sidecar uses %.0f %% of a core\n",
		name+":", len(latency), failed, ms(0.5), ms(0.99), ms(1), 100*used.Seconds()/while.Seconds())
}

func (it *small) take() ([]time.Duration, int) {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	latency, failed := it.latency, it.failed
	it.latency, it.failed = nil, 0
	return latency, failed
}

// quantile gives the smallest value (0), the largest (1), or one between.
func quantile(values []time.Duration, part float64) time.Duration {
	slices.Sort(values)
	return values[int(part*float64(len(values)-1))]
}
