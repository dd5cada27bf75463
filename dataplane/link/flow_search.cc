// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/flow_search.h"

#include "dataplane/common/address.h"
#include "dataplane/explain/find_flows.h"
#include "dataplane/flow/flow_hash.h"

namespace keyrail {
namespace {

std::string_view state_of(const Flow& flow) {
    if (flow.reset) return "reset";
    if (flow.ended()) return "over";
    if (flow.client_done) return "client finished";
    if (flow.blade_done) return "blade finished";
    return flow.hello_due ? "hello due" : "open";
}

}  // namespace

struct FlowSearch::Question {
    link::FlowsRequest request;
    Answer answer;
    FlowHash hash;
    Headers connection;  // the next one to be tried
    int place = 0;
    uint32_t port = 0;          // likewise
    std::vector<Tuple> tuples;  // of this batch
    std::vector<std::shared_ptr<explain::FindFlowsTask>> tasks;
    size_t missing = 0;
    link::FlowsFound found;

    /// False: that was the last one.
    bool next_tuple() {
        if (place == request.places_size()) return false;
        const auto& at = request.places(place);
        const uint32_t only = request.client_port();
        connection.tuple.destination = address_of_bytes(at.address())->mapped();
        connection.tuple.destination_port = static_cast<uint16_t>(at.port());
        connection.tuple.source_port = static_cast<uint16_t>(only != 0 ? only : ++port);
        if (only != 0 || port == UINT16_MAX) {
            place++;
            port = 0;
        }
        return true;
    }
};

void FlowSearch::ask(const link::FlowsRequest& request, Answer answer) {
    const auto client = address_of_bytes(request.client());
    if (!client) return answer(tl::make_unexpected(client.error()));
    if (request.client_port() > UINT16_MAX) return answer(fail("a port is 1 to 65535"));
    if (request.places_size() > kMostPlaces)
        return answer(fail("{} service addresses; {} are looked at, name a service", request.places_size(),
                           kMostPlaces));
    for (const auto& place : request.places())
        if (place.address().size() != request.client().size() || place.port() == 0 ||
            place.port() > UINT16_MAX)
            return answer(fail("a service address is not of the client's family, or has no port"));
    auto question = std::make_shared<Question>(
        Question{request, std::move(answer), FlowHash(shared_.flow_hash_key), {}, {}, {}, {}, {}, {}, {}});
    question->connection.ipv6 = client->is_v6();
    question->connection.tuple.source = client->mapped();
    next_batch(question);
}

void FlowSearch::next_batch(const std::shared_ptr<Question>& question) {
    std::vector<uint64_t> hashes;
    question->tuples.clear();
    question->tasks.clear();
    while (hashes.size() < explain::FindFlowsTask::kMost && question->next_tuple()) {
        hashes.push_back(question->hash(question->connection));
        question->tuples.push_back(question->connection.tuple);
    }
    if (hashes.empty()) return question->answer(std::move(question->found));
    question->missing = shared_.workers;
    for (uint16_t worker = 0; worker < shared_.workers; worker++)
        question->tasks.push_back(std::make_shared<explain::FindFlowsTask>(hashes));
    for (uint16_t worker = 0; worker < shared_.workers; worker++) {
        const bool given = tasks_.give(worker, question->tasks[worker], [this, question] {
            if (--question->missing == 0) took(question);
        });
        if (!given) return question->answer(fail("worker {} does not answer", worker));
    }
}

void FlowSearch::took(const std::shared_ptr<Question>& question) {
    for (uint16_t worker = 0; worker < question->tasks.size(); worker++)
        for (const auto& [index, flow] : question->tasks[worker]->found) {
            if (question->found.flows_size() == kMostFlows) {
                question->found.set_more(true);
                return question->answer(std::move(question->found));
            }
            const Tuple& tuple = question->tuples[index];
            const size_t skip = question->connection.ipv6 ? 0 : 12;
            auto& to = *question->found.add_flows();
            to.set_worker(worker);
            to.set_client_port(tuple.source_port);
            to.set_address(std::string(tuple.destination.begin() + skip, tuple.destination.end()));
            to.set_port(tuple.destination_port);
            to.set_blade(flow.blade());
            to.set_state(std::string(state_of(flow)));
            to.set_idle_s((question->tasks[worker]->now_ticks - flow.last_seen) / kFlowTicks);
        }
    next_batch(question);
}

}  // namespace keyrail
