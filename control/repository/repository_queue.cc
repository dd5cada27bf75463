// SPDX-License-Identifier: Apache-2.0
#include "control/repository/repository_queue.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "dataplane/common/urgency.h"

namespace keyrail {

namespace {

uint64_t now_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

/// Who waits for long asks again, and does not wait for the older answer any more.
template <typename Done>
void drop_oldest(std::vector<Done>& done) {
    constexpr auto kMax = RepositoryQueue::kMaxWaitingFor;
    if (done.size() > kMax) done.erase(done.begin(), done.end() - static_cast<ptrdiff_t>(kMax));
}

}  // namespace

/// Everything but `repository` belongs to the executor's thread; `repository` to the worker.
struct RepositoryQueue::Impl : std::enable_shared_from_this<RepositoryQueue::Impl> {
    Impl(asio::any_io_executor executor_in, std::unique_ptr<Repository> repository_in)
        : executor(std::move(executor_in)), repository(std::move(repository_in)), sweeper(executor) {}

    /// Changes, and who waits for each.
    struct Batch {
        std::vector<RepositoryChange> changes;
        std::vector<std::vector<Done>> done;
        uint64_t purges = 0;  // that there had been when it was made
    };
    struct Waiting {
        RepositoryChange change;
        std::vector<Done> done;
    };
    struct Purge {
        Repository::Which which;
        Purged purged;  // nullptr: it has been told
        Done done;
    };

    asio::any_io_executor executor;
    std::unique_ptr<Repository> repository;
    asio::steady_timer sweeper;
    RepositoryStats stats;
    std::deque<Waiting> waiting;
    std::deque<Purge> purges;  // not made yet; until then nothing is written
    bool purging = false;
    uint64_t purges_asked = 0;
    int64_t first = 0;                         // position of waiting.front()
    std::map<SessionName, int64_t> positions;  // of the changes that wait
    size_t bytes = 0;
    bool writing = false;
    asio::thread_pool worker{1};

    /// Runs `call` on the worker, then `then` with its result here, if we still are.
    template <typename Call, typename Then>
    void run(Call call, Then then) {
        asio::post(worker,
                   [this, weak = weak_from_this(), call = std::move(call), then = std::move(then)]() mutable {
                       // `this` lives: the destructor joins the worker.
                       asio::post(executor, [weak = std::move(weak), then = std::move(then),
                                             result = call(*repository)]() mutable {
                           if (const auto self = weak.lock()) then(*self, std::move(result));
                       });
                   });
    }
    Waiting* find(const SessionName& name);
    void purge();
    [[nodiscard]] bool is_purged(const std::string& sealed) const;
    Batch next_batch();
    void put_back(Batch batch);
    void write();
    void written(const Batch& batch);
    void works(const Result<void>& result);
    void sweep();
};

RepositoryQueue::Impl::Waiting* RepositoryQueue::Impl::find(const SessionName& name) {
    const auto found = positions.find(name);
    return found == positions.end() ? nullptr : &waiting[static_cast<size_t>(found->second - first)];
}

RepositoryQueue::Impl::Batch RepositoryQueue::Impl::next_batch() {
    Batch batch{{}, {}, purges_asked};
    for (; batch.changes.size() < kBatch && !waiting.empty(); first++) {
        positions.erase(waiting.front().change.name);
        bytes -= waiting.front().change.sealed.size();
        batch.changes.push_back(std::move(waiting.front().change));
        batch.done.push_back(std::move(waiting.front().done));
        waiting.pop_front();
    }
    return batch;
}

/// To the front again, but for what has been overtaken by a newer change. What may have been purged meanwhile
/// is removed instead.
void RepositoryQueue::Impl::put_back(Batch batch) {
    for (size_t i = batch.changes.size(); i-- > 0;) {
        RepositoryChange& change = batch.changes[i];
        if (batch.purges != purges_asked) change.sealed.clear();
        if (Waiting* const newer = find(change.name)) {
            newer->done.insert(newer->done.begin(), std::make_move_iterator(batch.done[i].begin()),
                               std::make_move_iterator(batch.done[i].end()));
            drop_oldest(newer->done);
            continue;
        }
        positions[change.name] = --first;
        bytes += change.sealed.size();
        waiting.push_front({std::move(change), std::move(batch.done[i])});
    }
}

/// The oldest; the next one follows when it is made.
void RepositoryQueue::Impl::purge() {
    if (purging || purges.empty()) return;
    purging = true;
    run([which =
             purges.front().which](Repository& from) { return which ? from.remove_if(which) : from.clear(); },
        [](Impl& self, const Result<void>& result) {
            self.purging = false;
            Purge& made = self.purges.front();
            if (const auto tell = std::exchange(made.purged, nullptr)) tell(result);
            self.works(result);
            if (!result) return;
            if (made.done) made.done();
            self.purges.pop_front();
            self.purge();
            self.write();
        });
}

bool RepositoryQueue::Impl::is_purged(const std::string& sealed) const {
    return std::ranges::any_of(purges,
                               [&](const Purge& purge) { return !purge.which || purge.which(sealed); });
}

void RepositoryQueue::Impl::works(const Result<void>& result) {
    if (!result) stats.failures++;
    if (result.has_value() == stats.up) return;
    stats.up = result.has_value();
    stats.problem = result ? "" : result.error().message;
    if (result)
        spdlog::info("repository: works again");
    else
        spdlog::warn("repository: {}; trying on", stats.problem);
}

void RepositoryQueue::Impl::written(const Batch& batch) {
    for (const RepositoryChange& change : batch.changes)
        (change.sealed.empty() ? stats.removed : stats.stored)++;
    for (const auto& waits : batch.done)
        for (const Done& done : waits) done();
}

void RepositoryQueue::Impl::write() {
    if (writing || !stats.up || waiting.empty() || !purges.empty()) return;
    writing = true;
    const auto batch = std::make_shared<Batch>(next_batch());
    run([batch](Repository& to) { return to.apply(batch->changes); },
        [batch](Impl& self, const Result<void>& result) {
            self.writing = false;
            result ? self.written(*batch) : self.put_back(std::move(*batch));
            self.works(result);
            self.write();
        });
}

void RepositoryQueue::Impl::sweep() {
    run([now = now_ms()](Repository& swept) { return swept.sweep(now); },
        [](Impl& self, const Result<void>& result) {
            self.works(result);
            if (result) self.purge();
            self.write();
        });
    sweeper.expires_after(kSweep);
    sweeper.async_wait([weak = weak_from_this()](const asio::error_code& error) {
        if (const auto self = weak.lock(); self && !error) self->sweep();
    });
}

RepositoryQueue::RepositoryQueue(asio::any_io_executor executor, std::unique_ptr<Repository> repository)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(repository))) {
    asio::post(impl_->worker, [] {  // OpenSSL's socket BIOs know no MSG_NOSIGNAL
        sigset_t broken_pipe;
        sigemptyset(&broken_pipe);
        sigaddset(&broken_pipe, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
        run_anywhere();  // a reload makes it on a thread that may be urgent
    });
    impl_->sweep();
}

RepositoryQueue::~RepositoryQueue() {
    impl_->sweeper.cancel();
    impl_->worker.join();
    while (impl_->stats.up && !impl_->waiting.empty())
        if (const auto batch = impl_->next_batch(); !impl_->repository->apply(batch.changes)) break;
}

void RepositoryQueue::change(RepositoryChange change, Done done) {
    Impl& self = *impl_;
    if (Impl::Waiting* const older = self.find(change.name)) {
        self.bytes += change.sealed.size() - older->change.sealed.size();
        older->change = std::move(change);
        if (done) older->done.push_back(std::move(done));
        drop_oldest(older->done);
        return;
    }
    if (self.waiting.size() >= kMaxWaiting || self.bytes + change.sealed.size() > kMaxWaitingBytes) {
        self.stats.lost++;
        return;
    }
    self.bytes += change.sealed.size();
    self.positions[change.name] = self.first + static_cast<int64_t>(self.waiting.size());
    Impl::Waiting& waits = self.waiting.emplace_back(Impl::Waiting{std::move(change), {}});
    if (done) waits.done.push_back(std::move(done));
    self.write();
}

/// What waits is newer than what is in the repository; what it leaves behind in the queue is a removal.
void RepositoryQueue::take(const SessionName& name, Taken taken) {
    Impl& self = *impl_;
    std::optional<std::string> newer;
    if (Impl::Waiting* const waits = self.find(name)) {
        self.bytes -= waits->change.sealed.size();
        newer = std::exchange(waits->change.sealed, {});
    }
    if (!self.stats.up && !newer) {
        self.stats.missed++;
        return asio::post(self.executor, [taken = std::move(taken)] { taken(std::nullopt); });
    }
    self.run([name, now = now_ms()](Repository& from) { return from.take(name, now); },
             [taken = std::move(taken), newer = std::move(newer)](Impl& now,
                                                                  Result<std::optional<std::string>> found) {
                 if (!found) now.works(tl::make_unexpected(found.error()));
                 std::string sealed = newer ? *newer : found && *found ? **found : std::string();
                 if (sealed.empty() || (!newer && now.is_purged(sealed))) {
                     now.stats.missed++;
                     return taken(std::nullopt);
                 }
                 now.stats.taken++;
                 taken(std::move(sealed));
             });
}

/// What waits and is meant becomes a removal: an older state of it may be in the repository.
void RepositoryQueue::purge(Repository::Which which, Purged purged, Done done) {
    Impl& self = *impl_;
    self.purges_asked++;
    for (Impl::Waiting& waits : self.waiting) {
        if (waits.change.sealed.empty() || (which && !which(waits.change.sealed))) continue;
        self.bytes -= waits.change.sealed.size();
        waits.change.sealed.clear();
    }
    self.purges.push_back({std::move(which), std::move(purged), std::move(done)});
    self.purge();
}

RepositoryStats RepositoryQueue::stats() const {
    RepositoryStats stats = impl_->stats;
    stats.waiting = impl_->waiting.size();
    return stats;
}

}  // namespace keyrail
